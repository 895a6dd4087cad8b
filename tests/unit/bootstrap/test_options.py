"""Options: text forms, limits, sources, and errors that show no secret."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumer_fleet.bootstrap.cpus import usable_cpus
from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options, set_pairs
from consumer_fleet.bootstrap.sources import FIELDS
from consumer_fleet.errors import ConfigurationError

DSN = "https://publickey@sentry.example/1"
SECRET = "hunter2-very-secret"


def options(**command_line: object) -> Options:
    return resolve_options(OptionsRequest(command_line), {}).options


def from_environment(environ: dict[str, str]) -> Options:
    return resolve_options(OptionsRequest(), environ).options


def from_file(config: Path, environ: dict[str, str] | None = None) -> Options:
    return resolve_options(OptionsRequest(config=config), environ or {}).options


def error(
    command_line: dict[str, object] | None = None,
    config: Path | None = None,
    environ: dict[str, str] | None = None,
) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve_options(OptionsRequest(command_line or {}, config), environ or {})
    return str(caught.value)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yml"


# Names and text forms


@pytest.mark.parametrize(
    "key",
    [
        "store.use-relay-dsn-sample-rate",
        "store_use_relay_dsn_sample_rate",
        "STORE_USE_RELAY_DSN_SAMPLE_RATE",
        "Store.Use-Relay_DSN-sample.rate",
    ],
)
def test_every_spelling_of_a_name_is_the_same_option(key: str, config: Path) -> None:
    config.write_text(f"{key}: 1\n")
    assert from_file(config).store_use_relay_dsn_sample_rate == 1
    given = resolve_options(OptionsRequest(set_pairs([f"{key}=0.5"]), config), {})
    assert given.options.store_use_relay_dsn_sample_rate == 0.5


def test_nested_mappings_in_a_file_are_dotted_keys(config: Path) -> None:
    config.write_text(
        "store:\n  use-relay-dsn-sample-rate: 1\nkafka_config: {sasl: {mechanism: PLAIN}}\n"
    )
    resolved = from_file(config)
    assert resolved.store_use_relay_dsn_sample_rate == 1
    assert resolved.kafka_config == {"sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    "text",
    [
        "0123",
        "12:34:56",
        "1_000",
        "1.10",
        "2024-05-01",
        "yes",
        "on",
        "0b11",
        "1__0",
        "=",
        "0.",
        ".",
    ],
)
def test_a_plain_scalar_that_yaml_1_2_or_its_digits_make_text_is_text(
    text: str, config: Path
) -> None:
    config.write_text(f"metrics_tags: {{version: {text}}}\n")
    assert from_file(config).metrics_tags == {"version": text}


def test_numbers_switches_and_null_in_a_file_are_those_of_yaml_1_2(config: Path) -> None:
    config.write_text(
        "workers: 0x10\nconnections: 0o17\nmax_in_flight_mb: 1e2\nstall_timeout_s: 2.5\n"
        "no_dlq: True\nstop_at_end: yes\ngroup: ~\n"
    )
    resolved = from_file(config)
    assert (resolved.workers, resolved.connections, resolved.max_in_flight_mb) == (16, 15, 100)
    assert (resolved.stall_timeout_s, resolved.no_dlq, resolved.stop_at_end) == (2.5, True, True)
    assert resolved.group is None


def test_values_from_a_file_or_a_variable_lose_one_newline_with_a_warning(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("group: |\n  mine\nkafka_config:\n  sasl.password: |\n    secret\n\n")
    environ = {"CONSUMER_UPSTREAM_DSN": f"{DSN}\r\n", "CONSUMER_METRICS_TAGS": "a=b\n"}
    resolved = from_file(config, environ)
    assert resolved.group == "mine"
    assert resolved.kafka_config == {"sasl.password": "secret"}
    assert resolved.metrics_tags == {"a": "b"}
    # Only one is dropped: a second one may belong to the value.
    assert from_environment({"CONSUMER_METRICS_PREFIX": "a\n\n"}).metrics_prefix == "a\n"
    warned = [
        line for line in capsys.readouterr().err.splitlines() if "dropped the newline" in line
    ]
    assert len(warned) == 4
    assert warned[0].startswith("consumer: warning: ")
    assert any("CONSUMER_UPSTREAM_DSN" in line for line in warned)


@pytest.mark.parametrize("source", ["--set", "environment", "list"])
def test_tags_separated_by_a_comma_are_several_tags(source: str) -> None:
    pairs = "a=b,c=d"
    if source == "--set":
        given = options(**set_pairs([f"metrics_tags={pairs}"]))
    elif source == "list":
        given = options(metrics_tags=[pairs])
    else:
        given = from_environment({"CONSUMER_METRICS_TAGS": pairs})
    assert given.metrics_tags == {"a": "b", "c": "d"}


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "x" * 250])
@pytest.mark.parametrize("option", ["physical_topic", "dlq_topic"])
def test_a_topic_that_kafka_would_refuse_is_an_error(option: str, name: str) -> None:
    assert option.replace("_", "-") in error({option: name})
    assert options(**{option: "x" * 249})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8791", "127.0.0.1:8791"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("[::1]:8791", "[::1]:8791"),
        ("pod.example:8791", "pod.example:8791"),
    ],
)
def test_a_page_is_served_on_loopback_unless_a_host_is_named(text: str, address: str) -> None:
    assert options(serve=text).serve == address


@pytest.mark.parametrize("text", ["", "x", ":8791", "1:65536", "a b:1", "http://x:1", "1:2:3"])
def test_a_malformed_address_is_an_error(text: str) -> None:
    assert "serve" in error({"serve": text})


def test_every_option_can_be_given_by_its_environment_variable_alone() -> None:
    environ = {
        "CONSUMER_BOOTSTRAP_SERVERS": "kafka-1:9092, kafka-2:9092",
        "CONSUMER_UPSTREAM_DSN": DSN,
        "CONSUMER_NO_DLQ": "true",
        "CONSUMER_WORKERS": "3",
        "CONSUMER_KAFKA_CONFIG": "security.protocol=SSL,debug=broker,topic",
        "CONSUMER_METRICS_TAGS": '{"region": "eu"}',
        "CONSUMER_FEATURES": "organizations:discover,organizations:incidents",
        "CONSUMER_CA_FILE": "/etc/ca.pem",
        "CONSUMER_LOG_LEVEL": "DEBUG",
    }
    resolved = from_environment(environ)
    assert resolved.bootstrap_servers == ("kafka-1:9092", "kafka-2:9092")
    assert resolved.upstream_dsn is not None
    assert resolved.upstream_dsn.public_key == "publickey"
    assert resolved.no_dlq is True
    assert resolved.workers == 3
    assert resolved.kafka_config == {"security.protocol": "SSL", "debug": "broker,topic"}
    assert resolved.metrics_tags == {"region": "eu"}
    assert resolved.features == ("organizations:discover", "organizations:incidents")
    assert resolved.ca_file == Path("/etc/ca.pem")
    assert resolved.log_level == "debug"


def test_upstream_metrics_are_enabled_by_the_variable_without_prefix_too() -> None:
    plain = {"SENTRY_SDK_UPSTREAM_METRICS_ENABLED": "1"}
    assert from_environment(plain).sentry_sdk_upstream_metrics_enabled is True
    both = {**plain, "CONSUMER_SENTRY_SDK_UPSTREAM_METRICS_ENABLED": "0"}
    assert from_environment(both).sentry_sdk_upstream_metrics_enabled is False


def test_one_kafka_property_may_come_from_a_variable_of_its_own() -> None:
    environ = {
        "CONSUMER_KAFKA_CONFIG": "sasl.mechanism=PLAIN,sasl.password=old",
        "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD": SECRET,
    }
    resolved = from_environment(environ)
    assert resolved.kafka_config == {"sasl.mechanism": "PLAIN", "sasl.password": SECRET}


def test_an_empty_environment_variable_counts_as_not_set(config: Path) -> None:
    config.write_text("group: from-file\n")
    assert from_file(config, {"CONSUMER_GROUP": ""}).group == "from-file"


def test_variables_that_kubernetes_makes_for_a_service_are_not_options() -> None:
    environ = {
        "CONSUMER_SERVICE_HOST": "10.0.0.1",
        "CONSUMER_SERVICE_PORT_HTTP": "80",
        "CONSUMER_PORT": "tcp://10.0.0.1:80",
        "CONSUMER_PORT_80_TCP_ADDR": "10.0.0.1",
        "CONSUMER_FLEET_PORT_8125_UDP": "udp://10.0.0.1:8125",
        "CONSUMER_STATSD_PORT": "udp://10.0.0.1:8125",
    }
    assert from_environment(environ).statsd_port == 8125


def test_a_yaml_null_means_not_given(config: Path) -> None:
    config.write_text("log_level: null\ngroup:\n")
    assert resolve_options(OptionsRequest(config=config), {}).origins["log_level"] == "default"


# Limits


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0),
        ("max_in_flight_mb", 0),
        ("shutdown_timeout", 0),
        ("shutdown_timeout", "inf"),
        ("store_use_relay_dsn_sample_rate", 1.1),
        ("store_use_relay_dsn_sample_rate", "nan"),
        ("auto_offset_reset", "newest"),
        ("upstream_delivery", "maybe"),
        ("upstream_compression", "lz4"),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("statsd_port", 70000),
        ("snuba_url", "ftp://snuba"),
        ("snuba_url", "http://?snuba"),
        ("snuba_url", "http://sn\u00fcba:1218"),
        ("bootstrap_servers", "kafka"),
        ("bootstrap_servers", "kafka:99999"),
        ("kafka_config", "nopair"),
        ("metrics_tags", "{broken"),
        ("upstream_dsn", "https://sentry.example/1"),
        ("no_dlq", "perhaps"),
    ],
)
def test_a_value_outside_its_limits_is_an_error_that_names_the_option(
    name: str, value: object
) -> None:
    assert f"--{name.replace('_', '-')}" in error({name: value})


def test_two_options_that_exclude_each_other_are_an_error_that_names_both() -> None:
    message = error({"no_dlq": True}, environ={"CONSUMER_DLQ_TOPIC": "rejected"})
    assert "--no-dlq" in message
    assert "CONSUMER_DLQ_TOPIC" in message


def test_options_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        options().group = "other"  # type: ignore[misc]  # the point of the test


def test_options_themselves_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUP", "a")
    monkeypatch.setenv("CONSUMER_GROUP", "b")
    assert Options().group is None


# Precedence, each pair of neighbours (Django's are in test_configure.py)


def test_the_command_line_beats_the_environment() -> None:
    resolved = resolve_options(OptionsRequest({"group": "line"}), {"CONSUMER_GROUP": "environment"})
    assert resolved.options.group == "line"
    assert resolved.origins["group"] == "command line"


def test_the_environment_beats_the_file(config: Path) -> None:
    config.write_text("group: file\n")
    resolved = resolve_options(OptionsRequest(config=config), {"CONSUMER_GROUP": "environment"})
    assert resolved.options.group == "environment"
    assert resolved.origins["group"] == "environment CONSUMER_GROUP"


def test_a_given_value_beats_other_defaults() -> None:
    given = options(envelope_origin=False, kafka_config="a=b", upstream_dsn=None)
    changed = given.with_defaults(envelope_origin=True, workers="1", upstream_dsn=DSN)
    assert changed.envelope_origin is False
    assert changed.kafka_config == {"a": "b"}
    assert changed.workers == 1
    assert str(changed.upstream_dsn) == DSN
    assert given == options(envelope_origin=False, kafka_config="a=b")


def test_other_defaults_are_validated() -> None:
    with pytest.raises(ValidationError):
        options().with_defaults(workers=0)


def test_mappings_merge_key_by_key_over_the_sources(config: Path) -> None:
    config.write_text("kafka_config:\n  debug: broker\n  security.protocol: PLAINTEXT\n")
    environ = {"CONSUMER_KAFKA_CONFIG": "security.protocol=SSL"}
    line = set_pairs(["kafka_config=client.rack=r1", "kafka_config=client.id=me"])
    resolved = resolve_options(OptionsRequest(line, config), environ)
    assert resolved.options.kafka_config == {
        "debug": "broker",
        "security.protocol": "SSL",
        "client.rack": "r1",
        "client.id": "me",
    }
    assert resolved.origins["kafka_config"] == (
        f"command line, environment CONSUMER_KAFKA_CONFIG, file {config}"
    )


def test_an_unset_command_line_option_does_not_count() -> None:
    given = {"group": None, "bootstrap_servers": (), "no_dlq": None}
    resolved = resolve_options(OptionsRequest(given), {"CONSUMER_NO_DLQ": "1"})
    assert resolved.origins["group"] == "default"
    assert resolved.options.no_dlq is True


# The place of the configuration file


def test_the_files_place_is_the_option_else_the_variable_else_the_users_folder(
    tmp_path: Path,
) -> None:
    places = {name: tmp_path / name for name in ("option", "variable", "users/consumer-fleet")}
    for name, place in places.items():
        place.mkdir(parents=True)
        (place / "config.yml").write_text(f"group: {name}\n")
    environ = {
        "CONSUMER_CONF": str(places["variable"]),
        "XDG_CONFIG_HOME": str(tmp_path / "users"),
    }
    assert from_file(places["option"], environ).group == "option"
    assert from_environment(environ).group == "variable"
    del environ["CONSUMER_CONF"]
    assert from_environment(environ).group == "users/consumer-fleet"


def test_a_tilde_in_the_files_place_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yml").write_text("group: home\n")
    assert from_environment({"CONSUMER_CONF": "~/mine.yml"}).group == "home"


def test_a_named_place_that_is_missing_is_an_error_with_the_command_that_creates_it(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "missing.yml"
    message = error(config=missing)
    assert f"consumer config --example > {missing}" in message
    assert "CONSUMER_CONF" in error(environ={"CONSUMER_CONF": str(missing)})
    # A directory without its config.yml is as missing.
    assert f"> {tmp_path / 'config.yml'}" in error(config=tmp_path)


def test_a_missing_default_place_is_fine(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert from_environment(environ) == Options()


# What a file may hold


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n", "null\n"])
def test_an_empty_file_holds_no_options(text: str, config: Path) -> None:
    config.write_text(text)
    assert from_file(config) == Options()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("- a\n- b\n", 1, 1),
        ("just text\n", 1, 1),
        ("group: a\n  workers: 2\n", 2, 10),
        ("group: a\ngroup: b\n", 2, 1),
        ("store:\n  a: 1\n  a: 2\n", 3, 3),
        ("group: [a\n", 2, 1),
        ("group: \x07bell\n", 1, 8),
        ("group: !!python/object:os.system x\n", 1, 8),
        ("[a]: b\n", 1, 1),
        # They are marked as, or look like, a date or a number, but are not valid ones.
        ("workers: 2\ngroup: !!int 0b_\n", 2, 8),
        ("group: !!timestamp tomorrow\n", 1, 8),
        (f"workers: {'1' * 5000}\n", 1, 10),
    ],
)
def test_bad_yaml_is_an_error_with_file_line_and_column(
    text: str, line: int, column: int, config: Path
) -> None:
    config.write_text(text)
    assert f"{config}:{line}:{column}: " in error(config=config)


@pytest.mark.parametrize("text", ["a: &x {b: *x}\n", f"group: {'[' * 5000}\n"])
def test_a_file_that_is_nested_without_end_is_an_error(text: str, config: Path) -> None:
    config.write_text(text)
    assert error(config=config) == f"{config}: nested too deeply"


def test_an_unreadable_path_is_an_error_that_names_its_source(
    tmp_path: Path,
) -> None:
    too_long = tmp_path / ("x" * 300)
    assert error(config=too_long).startswith(f"--config: can't read {too_long}: ")
    assert error(environ={"CONSUMER_CONF": str(too_long)}).startswith("CONSUMER_CONF: can't read")
    # The default place was named by nobody.
    assert from_environment({"XDG_CONFIG_HOME": str(too_long)}) == Options()


def test_a_file_that_is_not_text_is_an_error(config: Path) -> None:
    config.write_bytes(b"group: \xff\xfe\n")
    assert str(config) in error(config=config)


def test_the_same_option_in_two_spellings_is_an_error(config: Path) -> None:
    config.write_text("dlq_topic: a\ndlq:\n  topic: b\n")
    assert "dlq_topic is given twice" in error(config=config)


# Errors


def test_errors_of_all_sources_are_listed_together_each_with_its_location(config: Path) -> None:
    config.write_text("connections: many\nwrokers: 3\n")
    message = error({"log_level": "loud"}, config, {"CONSUMER_WORKERS": "0"})
    assert "the configuration has 4 problems" in message
    assert f"file {config}:1, key connections: should be a valid integer" in message
    assert f"file {config}:2, key wrokers: unknown option; did you mean workers?" in message
    assert "environment variable CONSUMER_WORKERS: " in message
    assert "--log-level (or --set log_level): should be 'debug', 'info'" in message


@pytest.mark.parametrize(
    "given",
    [
        {"environ": {"CONSUMER_LOGLEVEL": "debug"}},
        {"command_line": {"log.levels": "debug"}},
    ],
)
def test_an_unknown_option_is_an_error_with_the_closest_name(
    given: dict[str, dict[str, str]],
) -> None:
    with pytest.raises(ConfigurationError, match="did you mean log_level"):
        resolve_options(OptionsRequest(given.get("command_line", {})), given.get("environ", {}))


SECRETS_IN_BAD_PLACES: list[tuple[dict[str, object], dict[str, str], str]] = [
    ({"upstream_dsn": f"https://{SECRET}@sentry.example/not-a-number"}, {}, ""),
    ({"upstream_dsn": SECRET}, {}, ""),
    ({"upstream_dsn": f"{SECRET}:x@sentry.example/1"}, {}, ""),
    ({"upstream_dsn": [SECRET]}, {}, ""),
    ({"kafka_config": SECRET}, {}, ""),
    ({"kafka_config": f'{{"sasl.password": "{SECRET}"'}, {}, ""),
    ({"kafka_config": {"sasl.password": [SECRET]}}, {}, ""),
    ({"bootstrap_servers": f"user:{SECRET}@kafka"}, {}, ""),
    ({"snuba_url": f"ftp://user:{SECRET}@snuba"}, {}, ""),
    ({"workers": f"https://{SECRET}@sentry.example/1"}, {}, ""),
    ({"sasl.password": SECRET}, {}, ""),
    ({}, {"CONSUMER_SASL_PASSWORD": SECRET}, ""),
    ({}, {"CONSUMER_KAFKA_CONFIG": f"sasl.password {SECRET}"}, ""),
    ({}, {}, f"upstream_dsn: [{SECRET}\n"),
    ({}, {}, f"kafka_config: {{sasl.password: *{SECRET}}}\n"),
    ({}, {}, f"upstream_dsn: !{SECRET} x\n"),
    ({}, {}, f"upstream_dsn: '{SECRET}\n"),
    ({}, {}, f"kafka_config: {{sasl.password: !!int {SECRET}}}\n"),
    ({}, {}, f"sasl: {{passwort: {SECRET}}}\n"),
    ({"kafka_config": [f"k v,sasl.password={SECRET}"]}, {}, ""),
    ({"upstream_dsn": f"https://a@s.example/1,https://{SECRET}@s.example/2"}, {}, ""),
    ({"snuba_url": f"http://user:pa ss/{SECRET}@snuba"}, {}, ""),
    ({"log_level": f"sasl.password: {SECRET}"}, {}, ""),
    ({"no_dlq": True, "dlq_topic": "t", "upstream_dsn": f"https://{SECRET}@s.example/1"}, {}, ""),
]


@pytest.mark.parametrize(("command_line", "environ", "text"), SECRETS_IN_BAD_PLACES)
def test_a_secret_is_in_no_error_message_nor_in_its_causes(
    command_line: dict[str, object], environ: dict[str, str], text: str, config: Path
) -> None:
    config.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        resolve_options(OptionsRequest(command_line, config), environ)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_a_pair_without_equals_is_an_error_that_does_not_repeat_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        set_pairs(["group=a", SECRET])
    assert str(caught.value) == "--set number 2: expected NAME=VALUE"


def test_no_repr_shows_a_secret(config: Path) -> None:
    environ = {
        "CONSUMER_UPSTREAM_DSN": f"https://{SECRET}@sentry.example/1",
        "CONSUMER_KAFKA_CONFIG": f"sasl.password={SECRET},ssl.key.pem={SECRET},a.token={SECRET}",
        "CONSUMER_SNUBA_URL": f"http://user:{SECRET}@snuba:1218",
    }
    resolved = resolve_options(OptionsRequest(), environ)
    for thing in (resolved, resolved.options, OptionsRequest(environ)):
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)


def test_a_worker_gets_the_options_as_they_are() -> None:
    parent = options(
        max_in_flight_mb=8,
        kafka_config={"sasl.password": SECRET},
        upstream_dsn=f"https://{SECRET}@sentry.example/1",
        ca_file="authorities.pem",
    )
    worker = pickle.loads(pickle.dumps(parent))
    assert worker == parent
    assert capture_options(worker) == capture_options(parent)
    assert worker.with_defaults(max_in_flight_mb=1).max_in_flight_mb == 8


def test_given_values_are_neither_changed_nor_shared() -> None:
    tags = {"region": "eu"}
    given: dict[str, object] = {"metrics_tags": tags}
    resolved = resolve_options(OptionsRequest(given), {"CONSUMER_METRICS_TAGS": "zone=a"})
    assert given == {"metrics_tags": {"region": "eu"}}
    tags["region"] = "us"
    assert resolved.options.metrics_tags == {"region": "eu", "zone": "a"}


def test_every_option_has_an_origin_and_a_description() -> None:
    assert tuple(resolve_options(OptionsRequest(), {}).origins) == FIELDS
    assert all(field.description for field in Options.model_fields.values())


@pytest.mark.parametrize(
    ("files", "self_cgroup", "affinity", "cpus"),
    [
        ({}, "0::/\n", 8, 8),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 8, 2),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 4, 4),
        ({"cpu.max": "1000 100000\n"}, "0::/\n", 4, 1),
        ({"cpu.max": "800000 100000\n"}, "0::/\n", 2, 2),
        (
            {"pod/box/cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n"},
            "0::/pod/box\n",
            8,
            3,
        ),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "", 8, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "", 8, 8),
        (
            {
                "cpu,cpuacct/d/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/d/cpu.cfs_period_us": "100000",
            },
            "4:cpu,cpuacct:/d\n",
            8,
            1,
        ),
        ({"cpu.max": "nonsense\n"}, "nonsense\n", 3, 3),
    ],
)
def test_usable_cpus_respect_the_scheduler_and_the_quota(
    files: dict[str, str], self_cgroup: str, affinity: int, cpus: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    own = tmp_path / "self"
    own.write_text(self_cgroup)
    assert usable_cpus(affinity, tmp_path / "root", own) == cpus


def test_this_machine_has_a_usable_cpu() -> None:
    assert usable_cpus() >= 1
    assert options().worker_count == max(1, usable_cpus() - 1)
    assert options(workers=5).worker_count == 5


def test_item_types_to_drop_are_known_ones_and_a_misspelt_one_gets_a_hint() -> None:
    given = from_environment({"CONSUMER_UPSTREAM_DROP_ITEMS": "transaction,span"})
    assert given.upstream_drop_items == ("transaction", "span")
    with pytest.raises(
        ConfigurationError, match="'transactions' is not an item type: did you mean"
    ):
        from_environment({"CONSUMER_SAAS_DROP_ITEMS": "transactions"})


def test_statsd_is_dropped_upstream_like_any_other_type_while_metrics_are_disabled() -> None:
    dsn = {"CONSUMER_UPSTREAM_DSN": "http://k@h/1", "CONSUMER_UPSTREAM_DROP_ITEMS": "span"}
    off = capture_options(from_environment(dsn)).upstream
    enabled = from_environment({**dsn, "SENTRY_SDK_UPSTREAM_METRICS_ENABLED": "1"})
    on = capture_options(enabled).upstream
    assert off is not None
    assert on is not None
    assert off.drop_items == frozenset({"span", "statsd"})
    assert on.drop_items == frozenset({"span"})
