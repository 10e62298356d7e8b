"""A registry: our ids from it, unknown writers resolved by it, and none of its moods stops us."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import decode, encode, encode_body
from streams.codec.schemas import SchemaSet, load_schema, versions
from streams.codec.wire import header
from streams.errors import BrokerError, ConfigError, RecordError
from streams.runtime.registry import LEVEL, Registry, Resolver, adopt_registry
from streams.runtime.registry_settings import RegistryLink, load_registry
from tests.unit.codec.codec_cases import event
from tests.unit.runtime.confluent import Confluent, confluent

FOREIGN_ID = 77


@pytest.fixture
def registry() -> Iterator[Confluent]:
    with confluent() as served:
        yield served


def link_of(registry: Confluent, **more: Any) -> RegistryLink:
    return RegistryLink(url=registry.url, **more)


def foreign_schema() -> dict[str, Any]:
    """Return an event's schema of another team: a field more, in another order."""
    schema = load_schema("telemetry_event")
    extra = {"name": "team", "type": "string"}
    return {**schema, "fields": [extra, *reversed(schema["fields"])]}


def test_every_version_is_registered_under_its_full_name(registry: Confluent) -> None:
    """With the level that the check asks for; again changes nothing."""
    with Registry(link_of(registry)) as client:
        ids = client.register()
        assert client.register() == ids
        assert client.ids() == ids
    known = {(n, v) for n, (now, earlier) in versions().items() for v in (now, *earlier)}
    assert set(ids) == known
    assert registry.subjects["spanloom.Alert"] == [ids["alert", 1], ids["alert", 2]]
    assert set(registry.levels.values()) == {LEVEL}


def test_ids_of_the_registry_take_the_place_of_the_files(
    registry: Confluent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written has them, earlier versions are read, an id of the files means nothing."""
    monkeypatch.setenv("SPANLOOM_REGISTRY_URL", registry.url)
    with Registry(link_of(registry)) as client:
        ids = client.register()
    schemas = SchemaSet()
    adopt_registry(schemas)
    value = encode("telemetry_event", event(), schemas)
    assert value[:5] == header(ids["telemetry_event", 1])
    assert decode(value, schemas) == event()
    assert schemas.name_of(ids["alert", 1]) == "alert"
    assert (schemas.version_of(ids["alert", 1]), schemas.version_of(ids["alert", 2])) == (1, 2)
    with pytest.raises(RecordError, match="unknown_schema_id"):
        decode(encode("telemetry_event", event()), schemas)


def test_another_teams_schema_is_found_once(registry: Confluent) -> None:
    """Its events are read as ours; the registry is asked for its id a single time."""
    theirs = foreign_schema()
    number = registry.put("telemetry.other.v1-value", json.dumps(theirs))
    link = link_of(registry)
    schemas = SchemaSet()
    with Registry(link) as client:
        schemas.adopt(client.register(), Resolver(client.schema, link))
        value = header(number) + encode_body(theirs, {**event(), "team": "cards"})
        assert [decode(value, schemas) for _ in range(3)] == [event()] * 3
        asked = [path for method, path in registry.asked if method == "GET"]
    assert asked == [f"/schemas/ids/{number}"]


def test_a_schema_that_is_none_of_our_records_is_unknown(registry: Confluent) -> None:
    """And one that is no Avro record, and an id that is nowhere."""
    link = link_of(registry)
    order = {"type": "record", "name": "Order", "namespace": "shop", "fields": []}
    numbers = [registry.put("a", json.dumps(order)), registry.put("b", '"string"'), 999_999]
    with Registry(link) as client:
        resolver = Resolver(client.schema, link)
        assert [resolver(number) for number in numbers] == [None] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"type": "enum", "symbols": ["A"]},
        {"fields": []},
        {"fields": "all of them"},
        {"fields": [{"name": "event_id", "type": "nothing"}]},
        {"fields": [{"name": "event_id"}]},
        {"fields": [{"name": "event_id", "type": ["null", 3]}]},
    ],
)
def test_a_schema_that_cannot_be_read_as_ours_is_unknown(change: dict[str, Any]) -> None:
    """It has the record's name, and is rejected id by id: never the end of a worker."""
    theirs = {**load_schema("telemetry_event"), **change}
    schemas = SchemaSet()
    ids = {(n, v): 10 * i + v for i, (n, (v, _)) in enumerate(versions().items())}
    schemas.adopt(ids, Resolver(lambda _: theirs, RegistryLink()))
    assert FOREIGN_ID not in schemas
    with pytest.raises(RecordError, match="unknown_schema_id"):
        decode(header(FOREIGN_ID) + b"body", schemas)


def test_without_our_schemas_nothing_starts(
    registry: Confluent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that registers them is named; without a registry nothing is asked."""
    adopt_registry(SchemaSet())
    assert registry.asked == []
    monkeypatch.setenv("SPANLOOM_REGISTRY_URL", registry.url)
    with pytest.raises(BrokerError, match=r"telemetry_event version 1.*spanloom schema register"):
        adopt_registry(SchemaSet())


@pytest.mark.parametrize("proof", ["basic", "token"])
def test_it_is_told_who_we_are(registry: Confluent, tmp_path: Path, proof: str) -> None:
    """By user and password or by a token, read again from its file; else it refuses."""
    secret = tmp_path / "secret"
    secret.write_text("pa:ss\n")
    more: dict[str, Any] = {"username": "us", "password_file": secret}
    registry.authorization = "Basic " + base64.b64encode(b"us:pa:ss").decode()
    if proof == "token":
        more = {"token_file": secret}
        registry.authorization = "Bearer new"
    with Registry(link_of(registry, **more)) as client:
        if proof == "token":
            with pytest.raises(BrokerError, match=r"refuses \(401\)"):
                client.ids()
            secret.write_text("new")
        assert client.register() == client.ids()
    with Registry(link_of(registry)) as client:
        with pytest.raises(BrokerError, match=r"refuses \(401\): Unauthorized") as refused:
            client.register()
        assert "pa:ss" not in str(refused.value)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_an_id_that_is_unknown_is_not_asked_for_again_for_a_while() -> None:
    """It may be registered later."""
    asked: list[int] = []
    clock = Clock()
    link = RegistryLink(unknown_seconds=60)
    known: dict[int, dict[str, Any]] = {}

    def ask(schema_id: int) -> dict[str, Any] | None:
        asked.append(schema_id)
        return known.get(schema_id)

    resolver = Resolver(ask, link, clock)
    assert (resolver(FOREIGN_ID), resolver(FOREIGN_ID), asked) == (None, None, [FOREIGN_ID])
    known[FOREIGN_ID] = foreign_schema()
    clock.now += 61
    assert resolver(FOREIGN_ID) == ("telemetry_event", foreign_schema())


def test_a_registry_that_is_away_is_left_alone() -> None:
    """Each question waits for its timeout: the stream must not wait for every id."""
    asked: list[int] = []
    clock = Clock()

    def ask(schema_id: int) -> None:
        asked.append(schema_id)
        raise BrokerError("away")

    resolver = Resolver(ask, RegistryLink(), clock)
    assert [resolver(number) for number in range(50)] == [None] * 50
    assert asked == [0]
    clock.now += 11
    resolver(7)
    assert asked == [0, 7]


def test_a_flood_of_ids_does_not_become_a_flood_of_questions() -> None:
    """So many a second, and then the others count as unknown for now."""
    asked: list[int] = []
    clock = Clock()
    resolver = Resolver(asked.append, RegistryLink(lookups_per_second=5), clock)
    for number in range(1_000):
        resolver(number)
    assert asked == [0, 1, 2, 3, 4]
    clock.now += 1
    resolver(999)
    assert asked[-1] == 999


def test_a_registry_that_does_not_answer_is_said(registry: Confluent) -> None:
    """Away, and out of order."""
    registry.status = 500
    with (
        Registry(link_of(registry)) as client,
        pytest.raises(BrokerError, match=r"refuses \(500\)"),
    ):
        client.ids()
    nobody = RegistryLink(url="http://127.0.0.1:9")
    with Registry(nobody) as client, pytest.raises(BrokerError, match="no registry answers"):
        client.schema(1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"URL": "http://registry.example.org"}, "use https beyond this machine"),
        ({"URL": "ftp://127.0.0.1"}, "must be https://HOST/PATH"),
        ({"URL": "https://u:p@127.0.0.1"}, "without a user"),
        ({"USERNAME": "u"}, "SPANLOOM_REGISTRY_URL is not"),
        ({"URL": "https://a", "USERNAME": "u"}, "belongs to one of"),
        ({"URL": "https://a", "PASSWORD": "s3cret"}, "SPANLOOM_REGISTRY_USERNAME belongs"),
        ({"URL": "https://a", "KEY_FILE": "k"}, "belong together"),
        ({"URL": "https://a", "TIMEOUT_SECONDS": "60"}, "timeout_seconds"),
        ({"URI": "https://a"}, "no such setting: SPANLOOM_REGISTRY_URI"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], says: str
) -> None:
    """The variable is named, a secret is not."""
    for name, text in given.items():
        monkeypatch.setenv(f"SPANLOOM_REGISTRY_{name}", text)
    with pytest.raises(ConfigError) as failed:
        load_registry()
    assert says in str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_certificates_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    """Before the first call."""
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "gone.pem"):
        with pytest.raises(ConfigError, match="certificates cannot be used"):
            Registry(RegistryLink(url="https://127.0.0.1:9", ca_file=tmp_path / name))
