"""The quick comparison of many records says what the slow one of texts says, whatever is wrong."""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec.records import encode
from streams.console.archive.archive import Archive
from streams.console.archive.files import Segment
from streams.console.archive.kinds import KIND, KINDS
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.runtime import reading
from tests.fault.comparing import Comparison, Difference, archived, difference, rows_of
from tests.fault.harness import Message
from tests.property.test_archive_columns import EVENT_VALUES, TRACE_VALUES, hurt
from tests.unit.console.at_hand import T0_US, TELEMETRY, batch, event, incident, trace, window

TRACES: Final = KIND["traces"].topic
VALUES: Final = {
    TELEMETRY: EVENT_VALUES,
    TRACES: TRACE_VALUES,
    KIND["incidents"].topic: st.just(encode("incident_event", incident())),
    KIND["fidelity"].topic: st.sampled_from((0.0, -0.0, float("nan"))).map(
        lambda ratio: encode("fidelity_stats", window(ratio=ratio))
    ),
}
PRIVACY: Final = Privacy(
    rules_of({"record_id": "PII", "actor": "PII"}, {}), Pseudonyms([Key("k1", b"s" * 32)])
)
HOUR_MS: Final = 3_600_000


@st.composite
def logs(draw: st.DrawFn) -> list[list[Message]]:
    """Draw what lies in some partitions, gaps of transactions and all."""
    found = []
    for topic, values in VALUES.items():
        for partition in range(draw(st.integers(1, 2))):
            offset, log = draw(st.integers(0, 3)), []
            for value in draw(st.lists(values.flatmap(hurt), max_size=5)):
                appended_ms = T0_US // 1000 + draw(st.sampled_from((0, 1, HOUR_MS)))
                log.append(Message(topic, partition, offset, appended_ms, None, value or b""))
                offset += draw(st.integers(1, 3))
            found.append(log)
    return found


def archive_of(folder: str, logs: Sequence[Sequence[Message]], privacy: Privacy | None) -> Store:
    """Return the files of an archive that took records in, some at a time."""
    store = Store(folder)
    archive = Archive(store, Limits(rows=2), telemetry=[TELEMETRY], privacy=privacy)
    for log in logs:
        archive.take(
            *(
                reading.Message(m.topic, m.partition, m.offset, m.timestamp_ms, m.key, m.value)
                for m in log
            )
        )
    archive.write_due(all_of_it=True)
    return store


def quick(
    store: Store, logs: Sequence[Sequence[Message]], privacy: Privacy | None
) -> dict[str, Difference]:
    """Return what the comparison of many says, in batches of two."""
    comparison = Comparison(store, [TELEMETRY], privacy, lambda _: None)
    for log in logs:
        if log:
            some = [log[i : i + 2] for i in range(0, len(log), 2)]
            comparison.take(log[0].topic, log[0].partition, some)
    return comparison.end()


def slow(
    store: Store, logs: Sequence[Sequence[Message]], privacy: Privacy | None
) -> dict[str, Difference]:
    """Return what the comparison of texts says."""
    events = [m for log in logs for m in log if m.topic == TELEMETRY]
    topics = {kind: [m for log in logs for m in log if m.topic == kind.topic] for kind in KINDS}
    return {
        kind.name: difference(
            rows_of(kind, topics[kind] if kind.topic else events, privacy),
            archived(store.url, kind),
        )
        for kind in KINDS
    }


def without(table: pa.Table, at: int) -> pa.Table:
    """Return rows but one."""
    return pa.concat_tables([table.slice(0, at), table.slice(at + 1)])


def doubled(table: pa.Table, at: int) -> pa.Table:
    """Return rows with one of them twice."""
    return pa.concat_tables([table, table.slice(at, 1)])


def altered(table: pa.Table, at: int, column: int, other: Any) -> pa.Table:
    """Return rows with another value in one place."""
    field = table.schema.field(column)
    values = table[column].to_pylist()
    values[at] = other
    return table.set_column(column, field, pa.array(values, field.type))


OTHERS: Final[dict[Any, Sequence[Any]]] = {
    pa.string(): ("", "x", None),
    pa.binary(): (b"", b"x", None),
    pa.int32(): (0, 7, None),
    pa.int64(): (0, 1, -5, 2**62, -(2**63), None),
    pa.float64(): (0.0, -0.0, 1.5, float("nan"), None),
}
"""What may stand in a place instead, by the column's type."""


def others(type_: pa.DataType) -> Sequence[Any]:
    """Return what may stand in a place instead."""
    if pa.types.is_map(type_):
        return ([], [("k", "v")], None)
    return OTHERS.get(type_, ([], ["x"], None))


@st.composite
def bugs(draw: st.DrawFn) -> Callable[[pa.Table], pa.Table]:
    """Draw what a bug does to the rows of a file."""
    how = draw(st.sampled_from(("none", "lost", "doubled", "altered", "turned", "empty")))
    part = draw(st.floats(0, 1, exclude_max=True))
    where = draw(st.floats(0, 1, exclude_max=True))
    which = draw(st.integers(0, 5))

    def hurt_(table: pa.Table) -> pa.Table:
        if not len(table) or how == "none":
            return table
        at, column = int(part * len(table)), int(where * table.num_columns)
        if how == "lost":
            return without(table, at)
        if how == "doubled":
            return doubled(table, at)
        if how == "turned":
            return table.take(list(range(len(table)))[::-1])
        if how == "empty":
            return table.slice(0, 0)
        values = others(table.schema.field(column).type)
        return altered(table, at, column, values[which % len(values)])

    return hurt_


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(logs(), st.lists(bugs(), max_size=4), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_a_bug_does_to_the_files(
    logs: list[list[Message]], bugs: list[Any], is_private: bool, chance: Any
) -> None:
    """Rows lost, doubled, altered and turned round, files that are gone and files of nobody."""
    privacy = PRIVACY if is_private else None
    with tempfile.TemporaryDirectory() as folder:
        store = archive_of(folder, logs, privacy)
        untouched = quick(store, logs, privacy)
        assert untouched == slow(store, logs, privacy)
        files = sorted(store.segments(), key=lambda one: one.path)
        for bug in bugs:
            if files:
                one = chance.choice(files)
                kind = KIND[one.kind]
                rows = bug(store.read(kind, [one]))
                store.write(kind, one, rows)
                if chance.random() < 0.2:  # and again under the name of another place
                    place = one._replace(partition=chance.choice((one.partition, 1, 9)), first=0)
                    store.write(kind, place, rows)
                if chance.random() < 0.2:
                    store.remove(one)
                    files.remove(one)
        assert quick(store, logs, privacy) == slow(store, logs, privacy)


def _some(count: int = 9) -> list[list[Message]]:
    """Return records of all that the comparison reads by column."""
    values = {
        TELEMETRY: [batch([event("log", record_id=f"r{n}"), event("audit")]) for n in range(count)],
        TRACES: [encode("assembled_trace", trace(f"{n:032x}")) for n in range(count)],
    }
    return [
        [Message(topic, 0, n, T0_US // 1000, None, value) for n, value in enumerate(some)]
        for topic, some in values.items()
    ]


@pytest.mark.parametrize("kind", ["traces", "spans", "events"])
@pytest.mark.parametrize(
    ("bug", "expected"),
    [
        (lambda table: without(table, 1), (1, 0, 0)),
        (lambda table: doubled(table, 1), (0, 1, 0)),
        (lambda table: altered(table, 0, 5, "x"), (1, 0, 1)),
        (lambda table: altered(table, 0, 1, None), (1, 0, 1)),
        (lambda table: altered(table, 0, 1, 1 << 40), (1, 0, 1)),
    ],
    ids=["lost", "doubled", "altered", "without a place", "in another place"],
)
def test_a_bug_is_found_by_its_name(
    tmp_path: Any, kind: str, bug: Callable[[pa.Table], pa.Table], expected: tuple[int, int, int]
) -> None:
    """In one row among many, of whichever kind."""
    logs = _some()
    store = archive_of(str(tmp_path), logs, PRIVACY)
    clean = quick(store, logs, PRIVACY)
    assert {one[:3] for one in clean.values()} == {(0, 0, 0)}
    assert clean[kind].rows >= len(logs[0])
    one: Segment = next(s for s in store.segments() if s.kind == kind)
    store.write(KIND[kind], one, bug(store.read(KIND[kind], [one])))
    found = quick(store, logs, PRIVACY)
    assert found[kind] == Difference(*expected, clean[kind].rows)
    assert found == slow(store, logs, PRIVACY)
