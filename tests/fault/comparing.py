"""Whether an archive equals its topics: all rows of its files, and all that their records are.

Owns the comparison, twice. `difference` of `published` and `archived` is its meaning: rows as
texts, counted. `compare` says the same of many records: a batch of a partition at a time, as
columns, and as texts only where these are not alike. Either way a record is decoded and treated
alone, by the definition of its kind, and never as the archive reads it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from streams.console.archive.files import Segment
from streams.console.archive.kinds import KIND, KINDS, Kind, Row
from streams.console.archive.store import Store
from streams.console.archive.treated import Treating
from streams.core.privacy.records import Privacy
from streams.errors import RecordError
from tests.fault.harness import Deployment, Message, committed_batches

BATCH_RECORDS: Final = 2_000
"""Of a partition, in memory at once: traces of some spans are a few MB."""
SAY_SECONDS: Final = 10.0
_OFFSET_MAX: Final = 2**63 - 1
Place = tuple[str, int]
"""Topic and partition."""
Say = Callable[[str], None]


class Difference(NamedTuple):
    """How an archive differs from its topics, in rows."""

    lost: int
    repeated: int
    wrong: int
    rows: int

    def plus(self, other: "Difference") -> "Difference":
        """Return the sums of both."""
        return Difference(*(a + b for a, b in zip(self, other, strict=True)))


NONE: Final = Difference(0, 0, 0, 0)


# --- what it means -------------------------------------------------------------------------------


def difference(there: Iterable[str], held: Iterable[str]) -> Difference:
    """Return how the rows that are held differ from those that are there.

    Args:
        there: rows of the topics.
        held: rows of the archive.
    """
    wanted, found = Counter(there), Counter(held)
    lost = sum((wanted - found).values())
    too_many = found - wanted
    repeated = sum(count for row, count in too_many.items() if row in wanted)
    return Difference(lost, repeated, sum(too_many.values()) - repeated, sum(wanted.values()))


def archived(archive: str, kind: Kind) -> list[str]:
    """Return the rows of a kind in all files, each with its file's topic and partition, sorted."""
    store = Store(archive)
    return sorted(
        row
        for one in store.segments()
        if one.kind == kind.name
        for row in texts((one.topic, one.partition), store.dataset([one], kind.schema).to_table())
    )


def published(
    deployment: Deployment, kind: Kind, events: Iterable[str], privacy: Privacy | None = None
) -> list[str]:
    """Return the rows that the records in a kind's topics are, sorted.

    Args:
        deployment: where they are read.
        kind: of rows.
        events: names of the topics that hold events, for the kind that has none of its own.
        privacy: what the archive has in place of what is personal.
    """
    topics = [kind.topic] if kind.topic else events
    return rows_of(kind, chain.from_iterable(map(deployment.read, topics)), privacy)


def rows_of(kind: Kind, messages: Iterable[Message], privacy: Privacy | None = None) -> list[str]:
    """Return the rows of a kind that records are, sorted."""
    kinds = _together(kind.topic)
    treating = None if privacy is None else Treating(privacy)
    rows = (
        ((m.topic, m.partition), row)
        for m in messages
        for row in _rows(kinds, m, treating)[kind.name]
    )
    return sorted(repr((*at, *row)) for at, row in rows)


def texts(at: Place, table: pa.Table) -> list[str]:
    """Return rows as texts; their files are named after where the records lie, and say it, too."""
    return [repr((*at, *row.values())) for row in table.to_pylist()]


def _together(topic: str) -> list[Kind]:
    """Return the kinds that a topic feeds; "" is that of events."""
    return [kind for kind in KINDS if kind.topic == topic]


def _rows(
    kinds: Sequence[Kind], message: Message, treating: Treating | None
) -> dict[str, list[Row]]:
    """Return the rows that one record is, by kind; none if it is no value of its schema."""
    value: bytes | None = message.value
    place = message.partition, message.offset, message.timestamp_ms * 1000
    try:
        # Most events are no rows; treated they are none, either.
        if treating is not None and (kinds[0].topic or kinds[0].rows(value)):
            value = treating.alone(kinds, value)
        return {kind.name: [place + row for row in kind.rows(value)] for kind in kinds}
    except RecordError:
        return {kind.name: [] for kind in kinds}


# --- the same of many records --------------------------------------------------------------------


def compare(
    deployment: Deployment,
    archive: str,
    events: Iterable[str],
    privacy: Privacy | None = None,
    say: Say = lambda _: None,
    prefix: str = "",
) -> dict[str, Difference]:
    """Return how an archive differs from the topics of a deployment, by kind.

    Args:
        deployment: whose topics they are.
        archive: path or URL.
        events: names of the topics that hold events.
        privacy: what the archive has in place of what is personal.
        say: is told how far it is.
        prefix: of the names of derived topics.
    """
    comparison = Comparison(Store(archive), tuple(events), privacy, say, prefix)
    for topic in comparison.topics:
        for partition in deployment.partitions_of(topic):
            batches = committed_batches(deployment.broker, topic, [partition], BATCH_RECORDS)
            comparison.take(topic, partition, batches)
    return comparison.end()


class Comparison:
    """An archive beside its topics, a partition at a time; no more than a batch is in memory.

    Args:
        store: the archive's, to which nothing is written any more.
        events: names of the topics that hold events.
        privacy: what the archive has in place of what is personal.
        say: is told how far it is.
        prefix: of the names of derived topics.

    Attributes:
        topics: whose partitions are to be taken, each once.
    """

    def __init__(
        self,
        store: Store,
        events: Sequence[str],
        privacy: Privacy | None,
        say: Say,
        prefix: str = "",
    ) -> None:
        derived = dict.fromkeys(prefix + kind.topic for kind in KINDS if kind.topic)
        self.topics = (*derived, *events)
        self._store, self._say, self._prefix = store, say, prefix
        self._treating = None if privacy is None else Treating(privacy)
        self._found = dict.fromkeys(KIND, NONE)
        self._held: dict[tuple[str, str, int], list[Segment]] = {}
        for one in sorted(store.segments(), key=lambda s: (s.first, s.last)):
            self._held.setdefault((one.kind, one.topic, one.partition), []).append(one)
        self._records, self._began, self._said = 0, time.monotonic(), time.monotonic()

    def take(self, topic: str, partition: int, batches: Iterable[Sequence[Message]]) -> None:
        """Compare a partition.

        Args:
            topic: one of `topics`.
            partition: of it.
            batches: all its records in the order of their offsets, none of them empty.
        """
        kinds = _together(topic.removeprefix(self._prefix)) or _together("")
        files = {
            kind.name: _Files(self._store, kind, self._held.pop((kind.name, topic, partition), []))
            for kind in kinds
        }
        begin = -_OFFSET_MAX
        for messages, end in _with_ends(batches):
            rows: dict[str, list[Row]] = {kind.name: [] for kind in kinds}
            for message in messages:
                for name, some in _rows(kinds, message, self._treating).items():
                    rows[name] += some
            for kind in kinds:
                held = files[kind.name].within(begin, end)
                self._note(kind.name, _difference((topic, partition), kind, rows[kind.name], held))
            begin = end
            self._tell(topic, partition, len(messages))
        for name, of_kind in files.items():
            self._note(name, Difference(0, 0, of_kind.unseen(), 0))

    def end(self) -> dict[str, Difference]:
        """Return the differences by kind; what lies in files of no partition is wrong."""
        for (name, _, _), files in self._held.items():
            if name in KIND:
                unasked = _Files(self._store, KIND[name], files).unseen()
                self._note(name, Difference(0, 0, unasked, 0))
        self._held = {}
        return dict(self._found)

    def _note(self, name: str, one: Difference) -> None:
        self._found[name] = self._found[name].plus(one)

    def _tell(self, topic: str, partition: int, records: int) -> None:
        self._records += records
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            rows = sum(one.rows for one in self._found.values())
            unlike = sum(sum(one[:3]) for one in self._found.values())
            self._say(
                f"compared {self._records} records, {rows} rows, {unlike} of them unlike, in "
                f"{now - self._began:.0f} s; at {topic}/{partition}"
            )


def _with_ends(
    batches: Iterable[Sequence[Message]],
) -> Iterator[tuple[Sequence[Message], int]]:
    """Yield batches, each with the offset after its last one; then what is after all of them."""
    for messages in batches:
        yield messages, messages[-1].offset + 1
    yield [], _OFFSET_MAX


class _Files:
    """The files of a kind and partition."""

    def __init__(self, store: Store, kind: Kind, files: Sequence[Segment]) -> None:
        self._dataset = store.dataset(files, kind.schema)
        self._rows = self._dataset.count_rows() if files else 0
        self._seen = 0

    def within(self, begin: int, end: int) -> pa.Table:
        """Return the rows of the offsets [begin, end), by offset."""
        offset = pc.field("offset")
        found = self._dataset.to_table(filter=(offset >= begin) & (offset < end))
        self._seen += len(found)
        order = pc.sort_indices(found["offset"])  # stable
        return found.take(order)

    def unseen(self) -> int:
        """Return how many rows were in none of the ranges, whatever they have for an offset."""
        return self._rows - self._seen


def _difference(at: Place, kind: Kind, there: Sequence[Row], held: pa.Table) -> Difference:
    """Return how rows of the files differ from those of the records of the same offsets."""
    if len(there) == len(held):
        columns = zip(*there, strict=True) if there else [()] * len(kind.schema)
        arrays = [
            pa.array(values, field.type) for values, field in zip(columns, kind.schema, strict=True)
        ]
        if all(map(_is_alike, arrays, held.columns)):
            return Difference(0, 0, 0, len(there))
    return difference([repr((*at, *row)) for row in there], texts(at, held))


def _is_alike(there: pa.Array, held: pa.ChunkedArray) -> bool:
    """Whether two columns say the same; if in doubt not: texts of them tell."""
    found = held.combine_chunks()
    if pa.types.is_floating(there.type):  # no number is unlike itself then, nor 0 like -0
        there, found = there.view(pa.int64()), found.view(pa.int64())
    return bool(there.equals(found))
