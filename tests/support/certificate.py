"""A self-signed certificate for 127.0.0.1, and a TLS context for servers."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.support.requirements import MissingPart


def key_of(certificate: Path) -> Path:
    return certificate.with_name(f"{certificate.name}.key")


def make_certificate(path: Path) -> None:
    """Write a certificate, valid for 3 days, and its key. Raises MissingPart without openssl."""
    command = f"{_openssl()} req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=127.0.0.1"
    command += f" -addext subjectAltName=IP:127.0.0.1 -out {path} -keyout {key_of(path)}"
    subprocess.run(command.split(), check=True, capture_output=True)


def make_expired_certificate(path: Path) -> None:
    """Write a certificate that expired yesterday, and its key. Raises MissingPart."""
    make_certificate(path)
    command = f"{_openssl()} x509 -in {path} -signkey {key_of(path)} -days -1 -out {path}"
    subprocess.run(command.split(), check=True, capture_output=True)


def _openssl() -> str:
    openssl = shutil.which("openssl")
    if openssl is None:
        raise MissingPart("openssl makes the certificates of the tests")
    return openssl


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key_of(certificate))
    return context
