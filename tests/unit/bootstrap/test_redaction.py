"""Redaction by value: no output repeats a secret, whoever wrote it and in whatever form."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from consumer_fleet.bootstrap.configure_sdk import make_before_send
from consumer_fleet.bootstrap.logging_setup import FleetHandler
from consumer_fleet.bootstrap.redaction import Redaction, guard, learn_option
from consumer_fleet.capture.dialing import proxy_from_environment
from consumer_fleet.cli import main
from consumer_fleet.errors import ConfigurationError

SECRET = "hunter2-very-secret"


def redacted(option: object, text: str) -> str:
    redaction = Redaction()
    redaction.learn_option(option)
    return redaction.redact(text)


@pytest.mark.parametrize(
    "option",
    [
        {"sasl.password": SECRET},
        [f"a=b,sasl.password={SECRET}"],
        f"a=b\nsasl.password={SECRET}\n",
        f"a=b; ssl.key.password = '{SECRET}'",
        f"sasl.password {SECRET}",
        f'{{"sasl.oauthbearer.client.secret": "{SECRET}"',
        f"https://a@b/1,https://{SECRET}@c/1",
        {"ssl.key.pem": f"-----BEGIN KEY-----\n{SECRET}\n-----END KEY-----"},
        f"http://user:pa/{SECRET}@proxy:3128",
        f"http://user:{SECRET}/x@proxy:3128",
        f"user:p@ss {SECRET}@proxy:3128",
    ],
)
def test_a_secret_is_recognised_in_every_form_of_an_option(option: object) -> None:
    assert SECRET not in redacted(option, f"connecting with {SECRET}@proxy failed")


def test_every_notation_of_a_secret_is_hidden() -> None:
    secret = 'é"/ \\@x'
    for form in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
        assert redacted({"sasl.password": secret}, f"<{form}>").strip("<>\"'") == "[redacted]"


def test_ordinary_words_stay_although_a_short_secret_is_part_of_them() -> None:
    options = {"sasl.password": "kafka", "enable.sasl.oauthbearer.unsecure.jwt": "true"}
    text = "kafkacat is true, kafka is not"
    assert redacted(options, text) == "kafkacat is true, [redacted] is not"


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["config", "--set", f"kafka_config=client.id=x,sasl.password={SECRET}"], {}),
        (["list", "--config", f"https://user:{SECRET}@host"], {}),
        (["config"], {"CONSUMER_KAFKA_CONFIG": f"client.id=x\nsasl.password={SECRET}"}),
        (["config"], {"CONSUMER_UPSTREAM_DSN": f"https://a@b/1,https://{SECRET}@c/1"}),
        (["doctor", "--kafka-config", f"client.id=x,sasl.password={SECRET}"], {}),
        (["doctor", f"https://user:{SECRET}@host"], {}),
        (["doctor", "--set", f"log_level=sasl.password: {SECRET}"], {}),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_command_prints_a_secret(
    arguments: list[str], environ: dict[str, str], form: list[str], tmp_path: Path
) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), **environ}
    # A file of this name does not exist, so the path itself is what the error repeats.
    result = CliRunner().invoke(main, [*arguments, *form], env=environ)
    assert SECRET not in result.output


def test_a_comma_list_sets_each_property_however_it_is_given(tmp_path: Path) -> None:
    pairs = f"client.id=x,sasl.password={SECRET}"
    for arguments, value in (
        (["--set", f"kafka_config={pairs}"], ""),
        ([], pairs),
        ([], pairs.replace(",", "\n")),
    ):
        environ = {"XDG_CONFIG_HOME": str(tmp_path), "CONSUMER_KAFKA_CONFIG": value}
        result = CliRunner().invoke(main, ["config", "--json", *arguments], env=environ)
        shown = json.loads(result.stdout)["kafka_config"]["value"]
        assert shown == {"client.id": "x", "sasl.password": "[redacted]"}


def test_a_proxy_that_is_not_a_url_is_an_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for password in (f"{SECRET}/x", f"{SECRET} x", f"{SECRET}@x", f"{SECRET}é"):
        monkeypatch.setenv("https_proxy", f"http://user:{password}@proxy:3128")
        with pytest.raises(ConfigurationError, match="https_proxy is not a valid URL") as caught:
            proxy_from_environment("https://sentry.example/api/1/envelope/")
        assert SECRET not in str(caught.value)
    valid = f"http://user:{quote(SECRET + '/ @é', safe='')}@proxy:3128"
    monkeypatch.setenv("https_proxy", valid)
    assert proxy_from_environment("https://sentry.example/api/1/envelope/") == valid


def test_the_log_and_our_own_events_repeat_no_secret() -> None:
    learn_option({"sasl.password": SECRET})
    stream = io.StringIO()
    FleetHandler(stream).emit(
        logging.LogRecord("librdkafka", logging.ERROR, "", 0, "login %s", (SECRET,), None)
    )
    assert stream.getvalue() == "login [redacted]\n"
    event = make_before_send("parent", None)({"message": f"login {SECRET}", "extra": {}}, {})
    assert event is not None
    assert event["message"] == "login [redacted]"


def test_a_guarded_stream_redacts_each_text_once() -> None:
    learn_option({"sasl.password": SECRET})
    stream = io.StringIO()
    guard(stream)
    guard(stream)
    print(SECRET, file=stream)
    assert stream.getvalue() == "[redacted]\n"
