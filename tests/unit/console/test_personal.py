"""Nothing personal is in the archive, whoever asks what, and those who may find it all the same."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streams.codec.records import decode, encode
from streams.codec.treating import WITHHELD
from streams.console.archive.archive import Archive
from streams.console.archive.kinds import KIND
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.archive.treated import Treating
from streams.console.paths.rejected import Redrive, Whole, redrive
from streams.console.privacy import privacy_of
from streams.console.redriven import Redriven
from streams.console.settings import load_console_settings
from streams.contract.loader import load_contract
from streams.core.privacy.pseudonyms import Pseudonyms
from streams.core.privacy.records import Privacy
from streams.errors import ConfigError
from tests.unit.console.asking import Asked, asked
from tests.unit.console.at_hand import TELEMETRY, batch, message, trace
from tests.unit.console.canaries import (
    CANARIES,
    DIMENSIONS,
    KEYS,
    KEYS_TEXT,
    PRIVACY,
    TEXTS,
    VALUE,
    contract,
    full,
    leaks,
    messages,
    octets,
    rejections,
)

DAY = {"start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}
RANGE = "start=2020-01-01T00:00:00Z&end=2030-01-01T00:00:00Z"


def archive_in(folder: Path, **limits: Any) -> Archive:
    return Archive(Store(str(folder)), Limits(**limits), telemetry=(TELEMETRY,), privacy=PRIVACY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the console keeps all that it keeps."""
    return tmp_path_factory.mktemp("personal")


@pytest.fixture(scope="module")
def console(folder: Path) -> Iterator[Asked]:
    """Yield a console whose archive was filled with canaries."""
    with asked(folder) as one:
        archive = archive_in(folder / "canaries")
        archive.take(*messages())
        archive.write_due(all_of_it=True)
        one.interface.queries._archive = archive
        one.interface.privacy = PRIVACY
        yield one


def test_the_canaries_are_found_without_classes(tmp_path: Path) -> None:
    """The search can fail: without a contract that classes fields each one is there."""
    archive = Archive(Store(str(tmp_path)), Limits(), telemetry=(TELEMETRY,))
    archive.take(*messages())
    archive.write_due(all_of_it=True)
    found = "\n".join(leaks(octets_but_the_value(tmp_path)))
    assert all(one.encode().decode("latin-1")[:6] in found for one in CANARIES)
    assert all(leaks(octets_but_the_value(tmp_path), [one]) for one in CANARIES)


def test_a_canary_in_base64_is_found() -> None:
    """As answers have bytes."""
    text = base64.b64encode(b"xy" + TEXTS["actor"].encode() + b"z")
    assert leaks([("answer", b'{"value_base64":"' + text + b'"}')]) != []
    assert leaks([("answer", b'{"value_base64":"' + text[8:] + b'"}')]) == []


def octets_but_the_value(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in folder.rglob("*.parquet"):
        for name in (table := pyarrow.parquet.read_table(file)).schema.names:
            yield f"{file}: {name}", repr(table[name].to_pylist()).encode()


def test_no_byte_of_the_archive_is_personal(console: Asked, folder: Path) -> None:
    """Every kind has rows, and no file of it a canary, whatever it is packed in."""
    archive = console.interface.queries._archive
    counts = archive.counts()
    assert {kind: one["files"] for kind, one in counts.items() if one["files"]} == (
        dict.fromkeys(("traces", "spans", "events", "alerts", "incidents", "rejected"), 1)
    )
    assert not archive.unreadable
    assert archive.archived["events"] == 6
    assert leaks(octets(folder)) == []


def test_no_answer_is_personal(console: Asked, folder: Path) -> None:
    """Whatever is asked by whomever, and whatever is written down of it."""
    said = PRIVACY.pseudonyms
    record = said.of(TEXTS["record_id"])
    paths = [
        f"/api/v1/traces?{RANGE}", f"/api/v1/traces/{'ab' * 16}", f"/api/v1/records/{record}",
        f"/api/v1/lineage/{record}", f"/api/v1/metrics?{RANGE}&name=*", "/api/v1/incidents",
        f"/api/v1/incidents/{'cd' * 16}", f"/api/v1/incidents/{'cd' * 16}/effects",
        f"/api/v1/rejected?{RANGE}", f"/api/v1/rejected/{TELEMETRY}/0/0",
        f"/api/v1/rejected/{TELEMETRY}/0/3", "/api/v1/me",
        f"/api/v1/records/{TEXTS['record_id']}", f"/api/v1/lineage/{TEXTS['record_id']}",
        f"/api/v1/traces?{RANGE}&batch_id={TEXTS['batch_id']}",
        f"/api/v1/traces?{RANGE}&dimension=user={DIMENSIONS['user']}",
    ]  # fmt: skip
    answers = [
        console.ask(path, key="operator" if "/rejected/" in path else "personal") for path in paths
    ]
    answers.append(audit(console, "personal", actor=TEXTS["actor"]))
    assert [one.status_code for one in answers] == [200] * len(answers)
    assert leaks((str(one.url.path), one.content) for one in answers) == []
    answers = [console.ask(path, key="viewer") for path in paths]
    answers.append(audit(console, "auditor", actor=TEXTS["actor"]))
    assert {one.status_code for one in answers} == {200, 403}
    assert leaks((str(n), one.content) for n, one in enumerate(answers)) == []
    assert leaks(octets(folder)) == []  # the access log is there


def audit(console: Asked, role: str, **given: Any) -> Any:
    return console.ask("/api/v1/audit/query", "POST", role, json={"time_range": DAY, **given})


@pytest.mark.parametrize("name", ["actor", "correlation_id", "batch_id", "record_ids"])
def test_who_may_finds_by_a_plain_value(console: Asked, name: str) -> None:
    """And who may not is told so; both ask by pseudonym."""
    field = name.removesuffix("s")
    wrap = (lambda text: [text]) if name.endswith("s") else (lambda text: text)
    plain, kept = TEXTS[field], PRIVACY.pseudonyms.of(TEXTS[field])
    found = audit(console, "personal", **{name: wrap(plain)}).json()
    assert found["total_count"] == 7  # one of the trace, six of the topic
    assert {entry[field] for entry in found["entries"]} == {kept}
    same = audit(console, "auditor", **{name: wrap(kept)}).json()
    assert {**same, "as_of": ""} == {**found, "as_of": ""}
    assert audit(console, "auditor", **{name: wrap(plain)}).status_code == 403
    assert audit(console, "personal", **{name: wrap("nobody")}).json()["total_count"] == 0
    asked_for = [line for line in console.written() if line["event"] == "question"][-2:]
    assert [line["field"] for line in asked_for] == [field] * 2
    assert asked_for[0]["kept"] == PRIVACY.all_of(field, plain)
    assert asked_for[0]["actor"] == "personal@example.org"


@pytest.mark.parametrize(
    ("dimension", "status", "count"),
    [
        (f"user={DIMENSIONS['user']}", 200, 1),
        (f"address={DIMENSIONS['address']}", 200, 1),
        ("address=198.51.100.9", 200, 1),  # one network
        ("address=203.0.113.9", 200, 0),
        (f"zip={DIMENSIONS['zip']}", 200, 1),
        ("stage=public-stage", 200, 1),
        (f"health={DIMENSIONS['health']}", 400, 0),
    ],
)
def test_dimensions_are_asked_for_as_they_are_kept(
    console: Asked, dimension: str, status: int, count: int
) -> None:
    """By pseudonym, network or first characters; what is dropped cannot be asked for."""
    answer = console.ask(f"/api/v1/traces?{RANGE}&dimension={dimension}", key="personal")
    assert answer.status_code == status
    assert status != 200 or len(answer.json()["traces"]) == count
    if not dimension.startswith("stage"):
        viewer = console.ask(f"/api/v1/traces?{RANGE}&dimension={dimension}", key="viewer")
        assert viewer.status_code == (403 if status == 200 else 400)


def test_a_rotation_is_searched_over(console: Asked, tmp_path: Path) -> None:
    """What was written under the older key is found beside what is written under the new one."""
    for n, keys in enumerate((KEYS[1:], KEYS)):
        privacy = Privacy(PRIVACY.rules, Pseudonyms(keys))
        archive = Archive(Store(str(tmp_path)), Limits(), telemetry=(TELEMETRY,), privacy=privacy)
        archive.take(message(TELEMETRY, n, full("log", n)))
        archive.write_due(all_of_it=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.interface.queries, "_archive", archive)
        found = audit(console, "personal", actor=TEXTS["actor"]).json()
    assert found["total_count"] == 2
    assert {entry["actor"][:4] for entry in found["entries"]} == {"~k1:", "~k2:"}


def test_what_is_quick_is_what_is_exact() -> None:
    """Events cut where they lie are those that are decoded, treated and encoded."""
    treating = Treating(PRIVACY)
    spans = [full("span", n, trace_id="ab" * 16) for n in range(5)]
    values = {
        "traces": [encode("assembled_trace", trace(spans=spans[: n + 1])) for n in range(5)],
        "events": [
            *(encode("telemetry_event", full("log", n, actor="x" * n)) for n in range(90)),
            batch([full("audit", n) for n in range(70)]),
            batch([full("audit", n, dimensions={}) for n in range(2)]),
        ],
    }
    for kind, some in values.items():
        quick = treating.values((KIND[kind],), some)
        exact = [treating._one[kind](value) for value in some]
        assert [repr(decode(v)) for v in quick] == [repr(decode(v)) for v in exact]
        assert repr(VALUE) not in repr([decode(v) for v in quick])
    broken = [b"", None, b"garbage", values["events"][0][:-2]]
    assert treating.values((KIND["events"],), broken) == [None] * 4


def test_a_rejected_record_is_driven_again_as_it_came(tmp_path: Path) -> None:
    """From its topic, for the archive has not its bytes; a record that is gone is not sent."""
    came = rejections()[0]
    kept = decode(Treating(PRIVACY)._rejected(encode("rejected_event", came)))
    sent: list[Any] = []

    def send(record: Any) -> int:
        sent.append(record)
        return 1

    order, book = Redrive(topic=TELEMETRY, partition=0, offset=0), Redriven(tmp_path)
    with pytest.raises(Exception, match="nothing of it that is personal"):
        redrive(order, "a", kept, book, lambda _: None, send, is_treated=True)
    whole = Whole(came["key"], came["value"])
    redrive(order, "a", kept, book, lambda _: whole, send, is_treated=True)
    assert [(one.key, one.value) for one in sent] == [whole]


def test_what_is_kept_of_rejected_records() -> None:
    """What can be read, without what is personal; of the rest the reason and the place."""
    treating = Treating(PRIVACY)
    kept = [decode(treating._rejected(encode("rejected_event", one))) for one in rejections()]
    assert kept[0]["detail"] == "trace_id 'BAD-1'"
    assert decode(kept[0]["value"])["actor"] == PRIVACY.pseudonyms.of(TEXTS["actor"])
    assert [bool(one["value"]) for one in kept] == [*[True] * 3, False, True, False, False]
    assert [one["key"] for one in kept] == [b"ab" * 16, *[b""] * 5, b"ab" * 16]
    assert [one["detail"] for one in kept[3:]] == [WITHHELD, WITHHELD, "", WITHHELD]
    assert decode(kept[4]["value"])["span_id"] == ""
    assert kept[2]["detail"] == f"in {PRIVACY.pseudonyms.of(TEXTS['record_id'])}"


def test_keys_are_read(tmp_path: Path) -> None:
    """From a file or a variable, and shown nowhere; without classes none is read."""
    file = tmp_path / "keys"
    file.write_text("# keys\n" + KEYS_TEXT.replace(",", "\n") + "\n", "utf-8")
    for given in ({"pseudonym_keys": KEYS_TEXT}, {"pseudonym_keys_file": file}):
        found = privacy_of(contract(), load_console_settings(**given))
        assert found is not None
        assert found.pseudonyms.key_ids == ("k2", "k1")
        assert KEYS[0].secret.decode() not in repr((found, load_console_settings(**given)))
    plain = load_contract("seed").model_copy(update={"field_classes": {}})
    assert privacy_of(plain, load_console_settings()) is None
    assert privacy_of(None, load_console_settings()) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("k1 short", "shorter than 32"),
        ("K1 " + "x" * 32, "ID SECRET"),
        ("x" * 40, "ID SECRET"),
        (f"k1 {'x' * 32},k1 {'y' * 32}", "one id"),
    ],
)
def test_a_wrong_key_is_named_and_not_shown(text: str, fault: str) -> None:
    """The variable, the fix, and nothing of the secret."""
    with pytest.raises(ConfigError, match=fault) as raised:
        privacy_of(contract(), load_console_settings(pseudonym_keys=text))
    assert "SPANLOOM_CONSOLE_PSEUDONYM_KEYS" in str(raised.value)
    assert "xxxx" not in str(raised.value)
    assert "short" not in str(raised.value).replace("shorter", "")


def test_without_classes_bytes_stay(tmp_path: Path) -> None:
    """An archive without privacy keeps the records as they came."""
    archive = Archive(Store(str(tmp_path)), Limits(), telemetry=(TELEMETRY,))
    sent = message(TELEMETRY, 0, full("log"))
    archive.take(sent)
    assert archive.look("events").tail["value"].to_pylist() == [sent.value]
