"""What is read of treated events is what would be read had each been treated before it was sent."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

from streams.codec.events import EventDecoder
from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating, RejectedTreating
from streams.codec.varints import text, varint
from streams.core.columns import EventColumns, Operations
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import UNREAD, Privacy
from streams.core.privacy.treatments import PERSONAL_FIELDS, rules_of
from streams.core.signals.series import SeriesBook
from tests.record_batches import batch
from tests.tiers import tried
from tests.unit.codec.codec_cases import event

TREATMENTS = ("pseudonym", "drop", "generalise", "truncate:2")
TEXTS = st.one_of(
    st.just(""),
    st.text(max_size=40),
    st.sampled_from(["~k1:" + "a" * 26, "~", "~erased", "192.0.2.1", "a@b", "~Ada"]),
)
KEYS = ("user", "zip", "tier", "users", "é")
SAID = (
    *KEYS,
    "event.0.user",
    "link.12.zip",
    "event.user",
    "event.0.tier.x",
    "link.3.spanloom.actor",
    "spanloom.actor",
    "point.sum",
    "point.quantile.0.9",
    "point.count",
)
VALUES = st.one_of(st.just(float("nan")), st.floats(allow_nan=False))


@st.composite
def privacies(draw: st.DrawFn) -> Privacy:
    """Some fields and dimensions are personal, each treated in some way."""
    names = draw(
        st.lists(
            st.sampled_from([*PERSONAL_FIELDS, *(f"dimensions.{key}" for key in KEYS)]),
            min_size=1,
            unique=True,
        )
    )
    said = {
        name: "drop" if name == "value" else draw(st.sampled_from(TREATMENTS)) for name in names
    }
    return Privacy(rules_of(dict.fromkeys(names, "PII"), said), Pseudonyms([Key("k1", b"s" * 32)]))


EVENTS = st.lists(
    st.builds(
        event,
        event_type=st.sampled_from(["TRACE", "METRIC", "LOG", "AUDIT"]),
        value=VALUES,
        dimensions=st.dictionaries(st.sampled_from(SAID), TEXTS),
        **{name: TEXTS for name in PERSONAL_FIELDS if name != "value"},
    ),
    min_size=1,
    max_size=12,
)


def decoder(privacy: Privacy | None) -> EventDecoder:
    return EventDecoder(
        default_schemas(),
        Operations(),
        dimensions=("tier", "user"),
        series=SeriesBook(1_000),
        signal_dimensions=("tier", "user"),
        treating=None if privacy is None else EventTreating(privacy),
    )


def same(found: EventColumns, expected: EventColumns) -> None:
    """Fail where columns differ; where bodies lie may."""
    for one in fields(EventColumns):
        ours, theirs = getattr(found, one.name), getattr(expected, one.name)
        if one.name == "body":
            assert list(ours) == list(theirs)
        elif isinstance(ours, Mapping):
            assert ours.keys() == theirs.keys()
            for key, column in ours.items():
                np.testing.assert_array_equal(column, theirs[key])
        else:
            np.testing.assert_array_equal(ours, theirs, one.name)


@tried(privacies(), EVENTS, st.booleans(), st.booleans(), few=9, many=30)
def test_columns_and_bodies(
    privacy: Privacy, events: list[dict[str, Any]], many: bool, keyed: bool
) -> None:
    """In record batches as the broker has them, messages of many events among them, and alone."""
    treated = [encode("telemetry_event", privacy.event(one)) for one in events]
    plain = [encode("telemetry_event", one) for one in events]
    n = len(events)
    expected, bad = decoder(None).decode(0, [None] * n, treated, np.zeros(n, np.int64))
    assert not len(bad)
    same(decoder(privacy).decode(0, [None] * n, plain, np.zeros(n, np.int64))[0], expected)
    same(decoder(privacy).decode(0, [None] * n, treated, np.zeros(n, np.int64))[0], expected)
    values = [encode("telemetry_batch", {"events": events})] if many else plain
    key = b"k" if keyed else None
    sent = batch([Record(i, 0, key, value) for i, value in enumerate(values)])
    found, bad, _ = decoder(privacy).decode_batches([sent], [0], [0])
    assert not len(bad)
    same(found, expected)


def test_a_map_that_says_a_key_twice() -> None:
    """In one block or in two: neither value passes."""
    whole = encode("telemetry_event", event(dimensions={"user": "Ada"}, record_id=""))
    one = text("user") + text("Ada")
    assert one in whole
    privacy = Privacy(rules_of({"dimensions.user": "PII"}, {}), Pseudonyms([Key("k1", b"s" * 32)]))
    kept = privacy.text("dimensions.user", "Eve")
    for twice in (
        varint(2) + one + text("user") + text("Eve"),
        varint(1) + one + varint(1) + text("user") + text("Eve"),
        varint(1) + one + varint(1) + text("user") + text(kept),
    ):
        value = whole.replace(varint(1) + one, twice)
        assert decode(value)["dimensions"]["user"] in ("Eve", kept)
        found, _ = decoder(privacy).decode(0, [None], [value], np.zeros(1, np.int64))
        (body,) = list(found.body)
        assert b"Ada" not in body
        assert b"Eve" not in body
        assert body.count(kept.encode()) == 1


def test_what_cannot_be_read_leaves_a_mark() -> None:
    """Reason, place, size and a mark that is the same for the same bytes; nothing else."""
    canary = "Ada Lovelace"
    privacy = Privacy(rules_of({"actor": "PII"}, {}), Pseudonyms([Key("k1", b"s" * 32)]))
    treating = RejectedTreating(privacy)
    record = {
        "reason": "invalid_avro", "detail": f"event 2 of 3: no text: {canary!r}",
        "topic": "t", "partition": 1, "offset": 7, "timestamp": 5,
        "key": canary.encode(), "value": canary.encode(), "value_bytes": len(canary),
    }  # fmt: skip
    found = treating.at_edge(record)
    assert canary not in repr(found)
    assert UNREAD.fullmatch(found["detail"])
    assert found["detail"].startswith("event 2 of 3: 12 bytes not kept, marked ~k1:")
    assert (found["offset"], found["value_bytes"], found["key"]) == (7, 12, b"")
    assert treating.at_edge(record) == found
    assert treating.kept(found) == found  # the archive keeps the mark
    counted = treating.at_edge(record | {"reason": "bad_magic", "detail": "first byte is 1"})
    assert counted["detail"].startswith("first byte is 1; 12 bytes not kept, marked ~k1:")
    other = treating.at_edge(record | {"value": b"x" * 12})
    assert other["detail"] != found["detail"]


def test_what_can_be_read_can_be_sent_again() -> None:
    """A rejected event is kept whole, treated, and says how long it is now."""
    privacy = Privacy(rules_of({"actor": "PII"}, {}), Pseudonyms([Key("k1", b"s" * 32)]))
    value = encode("telemetry_event", event(actor="Ada Lovelace", trace_id="BAD"))
    record = {
        "reason": "invalid_trace_id", "detail": "trace_id 'BAD'", "topic": "t", "partition": 1,
        "offset": 7, "timestamp": 5, "key": b"ab" * 16, "value": value, "value_bytes": len(value),
    }  # fmt: skip
    found = RejectedTreating(privacy).at_edge(record)
    assert decode(found["value"])["actor"] == privacy.pseudonyms.of("Ada Lovelace")
    assert (found["value_bytes"], found["key"]) == (len(found["value"]), b"ab" * 16)
    assert found["detail"] == "trace_id 'BAD'"
    assert RejectedTreating(privacy).at_edge(found) == found
