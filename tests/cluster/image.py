"""The fleet's image, built as a user builds it, from a base that needs no registry.

Debian's bootstrap replaces the public base image; the rest is deploy/Containerfile unchanged.
Base, layers and archives stay in the cache between runs, keyed by their contents.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.requirements import MissingPart
from tests.support.wheel import ROOT, build_wheel

REPOSITORY, TAG = "localhost/consumer-fleet", "test"
IMAGE = f"{REPOSITORY}:{TAG}"
PAUSE_IMAGE = "localhost/pause:1"
_BASE = "localhost/debian-python:1"
_SUITE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_TOOLS = ("buildah", "debootstrap", "gcc")
_BUILD = ("bud", "--layers", "--isolation=chroot")


@dataclass(frozen=True)
class Image:
    """A built image in a docker-archive file."""

    archive: Path
    build_s: float

    def layers_mib(self) -> list[float]:
        """The sizes of its layers, uncompressed; the first is the base."""
        with tarfile.open(self.archive) as files:
            manifest = files.extractfile("manifest.json")
            assert manifest is not None
            names = json.load(manifest)[0]["Layers"]
            return [files.getmember(name).size / 2**20 for name in names]

    def settings(self) -> dict[str, object]:
        """A container's configuration: user, entry point, environment, labels."""
        with tarfile.open(self.archive) as files:
            manifest = files.extractfile("manifest.json")
            assert manifest is not None
            config = files.extractfile(json.load(manifest)[0]["Config"])
            assert config is not None
            found: dict[str, object] = json.load(config)["config"]
            return found


def build_image(folder: Path) -> Image:
    """Build the image with this checkout's wheel, with ``folder`` as scratch space.

    Raises MissingPart if a Debian tool is missing.
    """
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise MissingPart(f"{tool} is not installed (make test-cluster installs it)")
    _build_base()
    context = folder / "context"
    for name in ("requirements/run.txt", "deploy/Containerfile", ".dockerignore"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, context / name)
    build_wheel(context / "dist")
    for file in context.rglob("*"):
        # Without its time of copying, unchanged content gives the same layer again.
        os.utime(file, (0, 0))
    options = [f"--build-arg=BASE={_BASE}", *_registry_settings()]
    options.append(f"--file={context}/deploy/Containerfile")
    started = time.monotonic()
    _buildah(*_BUILD, *options, f"--tag={IMAGE}", str(context))
    build_s = time.monotonic() - started
    # Pruning keeps only named images: name the first stage too, for the next build.
    _buildah(*_BUILD, *options, "--target=build", f"--tag={REPOSITORY}:build", str(context))
    _buildah("rmi", "--prune")
    return Image(_archive(IMAGE), build_s)


def build_pause_image(folder: Path) -> Path:
    """Build the image of the process that holds a pod's namespaces: there is no registry."""
    (folder / "pause.c").write_text(_PAUSE)
    subprocess.run(
        ["gcc", "-static", "-Os", "-o", folder / "pause", folder / "pause.c"], check=True
    )
    containerfile = folder / "Containerfile"
    containerfile.write_text('FROM scratch\nCOPY pause /\nENTRYPOINT ["/pause"]\n')
    _buildah(*_BUILD, f"--tag={PAUSE_IMAGE}", str(folder))
    return _archive(PAUSE_IMAGE)


def _archive(image: str) -> Path:
    """Return the image as a file, which stays in the cache until the image changes."""
    image_id = _buildah("images", "--quiet", "--no-trunc", image).strip().removeprefix("sha256:")
    name = image.replace("/", "_").replace(":", "_")
    archive = _cache() / f"{name}-{image_id[:16]}.tar"
    if not archive.exists():
        for old in _cache().glob(f"{name}-*.tar"):
            old.unlink()
        unfinished = archive.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        _buildah("push", "--quiet", image, f"docker-archive:{unfinished}:{image}")
        unfinished.rename(archive)
    return archive


def _build_base() -> None:
    if _BASE in _buildah("images", "--format={{.Name}}:{{.Tag}}").split():
        return
    root = _cache() / f"root-{hashlib.sha256(repr(_PACKAGES).encode()).hexdigest()[:16]}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE]
    _run([*command, str(root), _mirror()])
    for left_over in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / left_over, ignore_errors=True)
    containerfile = root.with_suffix(".Containerfile")
    containerfile.write_text("FROM scratch\nADD . /\n")
    _buildah("bud", "--isolation=chroot", f"--tag={_BASE}", f"--file={containerfile}", str(root))
    shutil.rmtree(root)


def _mirror() -> str:
    """Return the mirror that this machine takes Debian's packages from."""
    wanted = [f"Codename: {_SUITE}", "Component: main", "Created-By: Packages"]
    for place in _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]).split():
        return place
    raise MissingPart(f"apt knows no mirror of Debian's {_SUITE} (apt-get update asks for it)")


def _registry_settings() -> list[str]:
    """Return the machine's settings for the package registry: certificates and pip's options."""
    places = ("/etc/ssl/certs", "/etc/pip.conf")
    return [f"--volume={place}:{place}:ro" for place in places if Path(place).exists()]


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "consumer-fleet" / "images"


def _buildah(*arguments: str) -> str:
    # A separate store: the machine's other images are neither seen nor changed.
    storage = [f"--root={_cache()}/store", f"--runroot={_cache()}/run", "--storage-driver=overlay"]
    return _run(["buildah", *storage, *arguments])


def _run(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise AssertionError(f"{' '.join(command)}: {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


_PAUSE = """
#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""
