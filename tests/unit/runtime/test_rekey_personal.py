"""A rekey task writes a topic of ours: what is personal goes before that, not only in the join."""

import pytest

from streams.codec.events import EventDecoder
from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating
from streams.core.columns import Operations
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.runtime.chunk import Chunk
from streams.runtime.rekey_runner import RekeyRunner
from tests.otlp_cases import span_of, traces
from tests.record_batches import batch
from tests.unit.codec.codec_cases import T0_US, event

CANARY = "ada.lovelace@example.org"
PRIVACY = Privacy(
    rules_of({"actor": "PII", "dimensions.user": "PII"}, {}), Pseudonyms([Key("k1", b"s" * 32)])
)


def written(values: list[bytes], kind: str | None = None) -> bytes:
    """Return all that a rekey task writes of some values."""
    operations, schemas = Operations(), default_schemas()
    decoder = EventDecoder(
        schemas,
        operations,
        otlp_kinds={0: kind} if kind else None,
        treating=EventTreating(PRIVACY),
    )
    runner = RekeyRunner(
        decoder, operations, schemas, "telemetry.beta.v1", 6, "spanloom.rekeyed.v1", 5, PRIVACY
    )
    ms = T0_US // 1000
    records = [Record(i, ms, None, value) for i, value in enumerate(values)]
    runner.step([Chunk("telemetry.beta.v1", 6, 0, len(records), [batch(records)])], {}, T0_US)
    outputs, _ = runner.collect(0)
    assert runner.counts["rejected"] + runner.counts["moved"] + runner.counts["stayed"] == len(
        values
    )
    return b"".join(record.value or b"" for record in outputs)


@pytest.mark.parametrize("trace_id", [f"{7:032x}", "no id at all"])
def test_neither_good_nor_rejected_events_carry_plain_values(trace_id: str) -> None:
    """The pseudonym is there, of a rejected event too; the value is not."""
    made = event(trace_id=trace_id, actor=CANARY, dimensions={"user": CANARY})
    found = written([encode("telemetry_event", made)])
    assert CANARY.encode() not in found
    assert PRIVACY.text("actor", CANARY).encode() in found


def test_what_cannot_be_read_is_not_handed_on() -> None:
    """Bytes that are no event stay where they are: reason, place and size go on."""
    found = written([b"\0\0\0\0\1" + CANARY.encode()])
    assert b"invalid_avro" in found
    assert CANARY.encode() not in found


def test_attributes_of_otlp_are_treated_too() -> None:
    """Spans that could be read straight are not, where something is personal."""
    spans = [span_of(3, 4), span_of(5, 6)]
    for span in spans:
        span.attributes.add(key="user").value.string_value = CANARY
    found = written([traces("checkout", spans[:1]).SerializeToString()], "spans")
    assert CANARY.encode() not in found
    assert PRIVACY.dimensions({"user": CANARY})["user"].encode() in found
