"""Values that must not be found, records full of them, and a look at every byte of a folder."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

from streams.codec.records import encode
from streams.console.archive import counts
from streams.contract.loader import load_contract
from streams.contract.model import Contract
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.runtime import topics
from streams.runtime.reading import Message
from tests.unit.console.at_hand import T0_US, TELEMETRY, batch, event, incident, trace

CLASSES = {
    "actor": "PII", "record_id": "PII", "batch_id": "PII", "correlation_id": "PII",
    "value": "SENSITIVE", "dimensions.user": "PII", "dimensions.health": "SENSITIVE",
    "dimensions.address": "PII", "dimensions.zip": "PII", "dimensions.stage": "PUBLIC",
}  # fmt: skip
TREATMENTS = {"dimensions.address": "generalise", "dimensions.zip": "truncate:2"}
COLLEAGUE = "kim"
"""Who orders is told by name."""
TEXTS = {
    "actor": "Canary-actor-Ælf",
    "record_id": "canary-record-77",
    "batch_id": "canary-batch-77",
    "correlation_id": "canary-correlation-77",
}
DIMENSIONS = {
    "user": "canary.user@example.org",
    "health": "canary-healthy",
    "address": "198.51.100.177",
    "zip": "canary-zip-0815",
}
VALUE = 77_123.456_789_5
CANARIES = (*TEXTS.values(), *DIMENSIONS.values())
KEYS = (Key("k2", b"n" * 40), Key("k1", b"o" * 40))
KEYS_TEXT = ",".join(f"{key.key_id} {key.secret.decode()}" for key in KEYS)
PRIVACY = Privacy(rules_of(CLASSES, TREATMENTS), Pseudonyms(KEYS))


def full(example: str, n: int = 0, **fields: Any) -> dict[str, Any]:
    """Return an event with a canary in each field that the contract classes."""
    given = {**TEXTS, "value": VALUE, "dimensions": {**DIMENSIONS, "stage": "public-stage"}}
    return event(example, event_id=f"{n:08d}-0000-4000-8000-000000000000", **(given | fields))


def contract() -> Contract:
    """Return the seed contract with these classes."""
    plain = load_contract("seed").plain()
    return Contract.model_validate(
        plain | {"field_classes": CLASSES, "field_treatments": TREATMENTS}
    )


def alert(**fields: Any) -> dict[str, Any]:
    """Return an alert that tells of canaries in labels, ids and words."""
    path = Path(__file__).resolve().parents[3] / "schemas" / "examples" / "alert" / "2"
    found = json.loads(sorted(path.glob("*.json"))[0].read_text("utf-8"))
    pairs = ", ".join(f"{key}={value}" for key, value in DIMENSIONS.items())
    return found | {
        "labels": {**DIMENSIONS, "actor": TEXTS["actor"], "signal": "s"},
        "record_ids": [TEXTS["record_id"]],
        "batch_ids": [TEXTS["batch_id"]],
        "name": f"rule: s{{{pairs}}}",
        "explanation": f"s{{{pairs}}} of {TEXTS['record_id']} is high, said {TEXTS['actor']}.",
        **fields,
    }


def told_incident(**fields: Any) -> dict[str, Any]:
    """Return an incident that tells of canaries wherever one may."""
    found = incident("cd" * 16, **fields)
    said = alert()
    lines = [
        {**one, "name": said["name"], "explanation": said["explanation"]} for one in found["alerts"]
    ]
    more = {
        "title": said["explanation"],
        "labels": said["labels"],
        "record_ids": said["record_ids"],
        "alerts": lines,
        "acknowledged_by": COLLEAGUE,
        "command_actor": COLLEAGUE,
        "command_reason": f"looks at {TEXTS['record_id']}",
    }
    return found | {name: value for name, value in more.items() if name in found}


def rejections() -> list[dict[str, Any]]:
    """Return rejected records: one that can be read, a batch, a torn one, and none of ours."""
    whole = encode("telemetry_event", full("log", 50, trace_id="BAD-1"))
    common = {"topic": TELEMETRY, "partition": 0, "timestamp": T0_US, "value_bytes": 0}
    found = [
        ("invalid_trace_id", "trace_id 'BAD-1'", b"ab" * 16, whole),
        ("invalid_actor", f"actor {TEXTS['actor']!r}", TEXTS["actor"].encode(), whole),
        ("invalid_name", f"in {TEXTS['record_id']}", b"", batch([full("log", 51)])),
        ("invalid_avro", f"at {TEXTS['actor']}", TEXTS["actor"].encode(), whole[:-3]),
        (
            "invalid_span_id",
            f"span_id {TEXTS['actor']!r}",
            b"",
            encode("telemetry_event", full("log", 52, span_id=TEXTS["actor"])),
        ),
        ("bad_magic", "", b"", json.dumps(TEXTS | DIMENSIONS, ensure_ascii=False).encode()),
    ]
    out = [
        common | {"reason": r, "detail": d, "key": k, "value": v, "value_bytes": len(v),
                  "offset": n}
        for n, (r, d, k, v) in enumerate(found)
    ]  # fmt: skip
    return [*out, out[0] | {"offset": 9, "value": whole[:40]}]


def messages() -> list[Message]:
    """Return records of all topics, with canaries in all of them."""
    spans = [full("span", 1, trace_id="ab" * 16), full("log", 2, trace_id="ab" * 16)]
    values = [
        *((topics.TRACES, encode("assembled_trace", trace(spans=spans, revision=r)))
          for r in (1, 2)),
        *((TELEMETRY, encode("telemetry_event", full(name, n)))
          for n, name in enumerate(("log", "audit", "metric_outside_traces"), 3)),
        (TELEMETRY, batch([full("log", 6), full("span", 7, trace_id=""), full("audit", 8)])),
        (topics.ALERTS, encode("alert", alert())),
        (topics.INCIDENTS, encode("incident_event", told_incident())),
        *((topics.REJECTED, encode("rejected_event", one)) for one in rejections()),
    ]  # fmt: skip
    return [
        Message(topic, 0, n, T0_US // 1000 + n, None, value)
        for n, (topic, value) in enumerate(values)
    ]


def spellings(canaries: Iterable[str]) -> set[bytes]:
    """Return canaries as bytes may hold them: plain, and escaped by JSON."""
    return {one for text in canaries for one in (text.encode(), json.dumps(text)[1:-1].encode())}


def unpacked(text: bytes) -> bytes:
    """Return what a text has in base64, of what may be that; nothing of a file's own bytes."""
    words = re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", text) if text[:4] != b"PAR1" else []
    return b"\n".join(base64.b64decode(word[: len(word) // 4 * 4]) for word in words)


def octets(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all bytes of a folder's files, as they are and unpacked, with where they are."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield str(file), file.read_bytes()
            if file.suffix == ".counts":
                yield f"{file}: combos", repr(counts.read(file.read_bytes())).encode()
            if file.suffix == ".parquet":
                table = pyarrow.parquet.read_table(file)
                for name in table.schema.names:
                    rows = table[name].to_pylist()
                    yield f"{file}: {name}", repr(rows).encode()
                    yield f"{file}: {name}", b"\n".join(r for r in rows if isinstance(r, bytes))
                    if name == "value_number":
                        assert VALUE not in rows, file


def leaks(found: Iterable[tuple[str, bytes]], canaries: Iterable[str] = CANARIES) -> list[str]:
    """Return where canaries are."""
    wanted = spellings(canaries)
    looked = ((where, text + b"\n" + unpacked(text)) for where, text in found)
    return [f"{where}: {one!r}" for where, text in looked for one in wanted if one in text]
