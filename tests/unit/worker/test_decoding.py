"""A worker's codec: the format's own, unless an option asks for more."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.envelope import Envelope, InternalEnvelope
from consumer_fleet.capture.own_events import is_unsafe
from consumer_fleet.codec import Decode, Decoded, Fragment, Incomplete, RawMessage, Skipped
from consumer_fleet.consumers.envelopes import RawEnvelopes
from consumer_fleet.consumers.registry import get
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.replay.transform import DecodeByOrigin
from consumer_fleet.worker.decoding import build_decode
from tests.support.attachments import attached_event
from tests.support.messages import containing, message, now

EVENT = {"event_id": "a" * 32}
CHECK_IN = message(containing("ingest-monitors", {"monitor_slug": "x"}))


def test_without_an_option_the_codec_is_the_formats_own() -> None:
    decode = get("ingest-events").decode
    built = build_decode(decode, Options())
    assert built.__func__ is decode.__func__  # type: ignore[attr-defined]  # both are bound methods
    assert build_decode(len, Options()) is len  # type: ignore[arg-type,comparison-overlap]  # any callable


def test_the_age_of_check_ins_is_an_option_of_their_format() -> None:
    decode = get("ingest-monitors").decode
    assert build_decode(decode, Options())(CHECK_IN) == Skipped("too_old")
    assert isinstance(build_decode(decode, Options(check_in_max_age_s=0))(CHECK_IN), Envelope)
    assert isinstance(build_decode(decode, Options())(now(CHECK_IN)), Envelope)


def test_dead_letters_of_several_topics_get_the_options_too() -> None:
    decode = pickle.loads(pickle.dumps(DecodeByOrigin((("topic", "ingest-monitors"),))))
    assert build_decode(decode, Options())(CHECK_IN) == Skipped("too_old")
    assert isinstance(build_decode(decode, Options(check_in_max_age_s=0))(CHECK_IN), Envelope)


def test_transforms_get_what_the_codec_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rules_of_decoding.py").write_text("def drop(event, hint): return None\n")
    options = Options(transform="rules_of_decoding:drop")
    dropping = build_decode(get("events").decode, options)
    assert dropping(message(containing("events", EVENT))) == Skipped("transform")
    replacement = message(b'[2,"end_merge",{},{}]')
    assert dropping(replacement) == Skipped("end_merge")
    with pytest.raises(ConfigurationError, match="there is no transform 'x'"):
        build_decode(dropping, Options(transform=("x",)))


def test_a_transform_sees_an_event_whose_attachments_are_in_other_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rules_of_attachments.py").write_text(
        "def mark(event, hint): return None if 'drop' in event else event | {'seen': True}\n"
    )
    built = build_decode(
        get("ingest-attachments").decode, Options(transform="rules_of_attachments:mark")
    )
    chance = random.Random(1)
    chunk, whole = (message(value) for value in attached_event(chance, [3]).messages)
    assert isinstance(built(chunk), Fragment)
    found = built(whole)
    assert isinstance(found, Incomplete)
    assert b'"seen":true' in found.envelope.items[0].payload
    dropped = message((whole.value or b"").replace(b'"level": "error"', b'"drop":  "error"'))
    assert built(dropped) == Skipped("transform")


def test_a_schema_is_checked_only_where_asked_for_and_where_there_is_one() -> None:
    def name_of(consumer: str, **options: str) -> str:
        return type(build_decode(get(consumer).decode, Options(**options))).__name__

    assert name_of("ingest-events") == "method"
    assert name_of("ingest-events", validate_schema="warn") == "SchemaCheck"
    assert name_of("envelopes", validate_schema="warn") == "method"


def test_a_function_as_a_codec_is_transformed_too() -> None:
    def codec(raw: RawMessage) -> Decoded:
        return get("events").decode(raw)

    built = build_decode(codec, Options(transform="sentry-scrubbing"))
    raw = message(containing("events", EVENT | {"extra": {"token": "x"}}))
    found = built(raw)
    assert isinstance(found, Envelope)
    assert b"[Filtered]" in found.items[0].payload


SAAS = {"saas_dsn": "https://key@saas.example/1", "internal_project_id": 1}
OF_PROJECT = {
    1: message(b'{"dsn":"https://k@sentry.example/1"}\n{"type":"event"}\n{}\n', topic="t"),
    2: message(b'{"dsn":"https://k@sentry.example/2"}\n{"type":"event"}\n{}\n', topic="t"),
}


def test_envelopes_of_the_internal_project_are_marked_for_saas_only_where_both_are_given() -> None:
    options = resolve_options(OptionsRequest(SAAS), {}).options
    for decode in (get("envelopes").decode, DecodeByOrigin((("t", "envelopes"),))):
        built = build_decode(decode, options)
        kinds = {project: type(built(raw)) for project, raw in OF_PROJECT.items()}
        assert kinds == {1: InternalEnvelope, 2: Envelope}
        assert built(OF_PROJECT[1]) == decode(OF_PROJECT[1]), "nothing else changes"
    for name in SAAS:
        alone = resolve_options(OptionsRequest({**SAAS, name: None}), {}).options
        assert type(build_decode(get("envelopes").decode, alone)(OF_PROJECT[1])) is Envelope


def test_a_bug_about_a_message_of_the_internal_project_is_marked_as_unsafe() -> None:
    class Broken(RawEnvelopes):
        def decode(self, message: RawMessage) -> Envelope | Skipped:
            raise LookupError("a bug")

    built = build_decode(Broken().decode, resolve_options(OptionsRequest(SAAS), {}).options)
    for project, raw in OF_PROJECT.items():
        with pytest.raises(LookupError) as caught:
            built(raw)
        assert is_unsafe(caught.value) is (project == 1)


def routed(**given: Any) -> Decode:
    projects = {"1": {"upstream": "https://key@one.example/1"}}
    options = resolve_options(OptionsRequest({"projects": projects, **given}), {}).options
    return build_decode(get("envelopes").decode, options)


def project_ids(decode: Decode, *messages: RawMessage) -> list[int | None]:
    found = [decode(each) for each in messages]
    assert all(isinstance(each, Envelope) for each in found)
    return [each.project_id for each in found if isinstance(each, Envelope)]


def test_an_envelope_names_the_project_that_it_is_routed_by() -> None:
    nowhere = message(b'{}\n{"type":"event"}\n{}\n', topic="t")
    assert project_ids(routed(), *OF_PROJECT.values(), nowhere) == [1, None, None]
    plain = build_decode(get("envelopes").decode, Options())
    assert project_ids(plain, *OF_PROJECT.values()) == [None, None]


def test_the_parts_of_an_envelope_are_routed_by_their_project() -> None:
    chunk, whole = map(message, attached_event(random.Random(1), [3]).messages)
    decode = get("ingest-attachments").decode
    mapped, unmapped = (
        build_decode(decode, resolve_options(OptionsRequest(given), {}).options)
        for given in (
            {"projects": {"42": {"upstream": "https://key@one.example/1"}}},
            {"projects": {"1": "default"}, "unmapped_projects": "skip"},
        )
    )
    found = mapped(whole)
    assert isinstance(found, Incomplete)
    assert found.envelope.project_id == 42
    assert isinstance(mapped(chunk), Fragment)
    assert unmapped(chunk) == unmapped(whole) == Skipped("unmapped_project")


def test_messages_of_other_projects_are_skipped_or_rejected_if_that_is_the_policy() -> None:
    skips, rejects = routed(unmapped_projects="skip"), routed(unmapped_projects="dead-letter")
    nowhere = message(b'{}\n{"type":"event"}\n{}\n', topic="t")
    for other, detail in ((OF_PROJECT[2], "project 2 is not in projects"), (nowhere, "names no")):
        assert skips(other) == Skipped("unmapped_project")
        with pytest.raises(RejectedMessage) as caught:
            rejects(other)
        assert caught.value.reason == "unmapped_project"
        assert detail in caught.value.detail
    assert project_ids(skips, OF_PROJECT[1]) == project_ids(rejects, OF_PROJECT[1]) == [1]


def test_a_damaged_message_is_rejected_for_what_it_is_whatever_the_policy() -> None:
    for policy in ("skip", "dead-letter"):
        with pytest.raises(RejectedMessage) as caught:
            routed(unmapped_projects=policy)(message(b"damaged"))
        assert caught.value.reason == "invalid_envelope"


@pytest.mark.parametrize(("key", "project_id"), [("k", 1), ("other", None)])
def test_an_envelope_with_another_key_is_not_of_the_project(
    key: str, project_id: int | None
) -> None:
    project = {"upstream": "https://key@one.example/1", "key": key}
    assert project_ids(routed(projects={"1": project}), OF_PROJECT[1]) == [project_id]
