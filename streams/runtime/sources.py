"""What a join reads, and for what the events stand that it gets.

The events of rekeyed topics come by one internal topic. To the join each partition of their own
topic stays a topic of its own: it has its own pace, so how far it came is its own to say, and no
trace may be closed before the slowest of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.errors import ConfigError
from streams.units import Mask

SOURCES_MAX: Final = 256
"""The index of an event's source is one byte."""


@dataclass(frozen=True)
class Sources:
    """The sources of a join.

    Attributes:
        names: of all sources, in the order of the engine's topic indexes.
        topics: the topics that are read.
        internal: index of the topic of rekeyed events; -1 for none.
        of_origin: the source that stands for each topic and partition whose events are rekeyed.
    """

    names: tuple[str, ...]
    topics: tuple[str, ...]
    internal: int = -1
    of_origin: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def parts(self) -> dict[int, tuple[int, ...]]:
        """By the index of each rekeyed topic, which stands for its first partition, the others."""
        found: dict[str, list[int]] = {}
        for (topic, _), source in self.of_origin.items():
            found.setdefault(topic, []).append(source)
        return {first: tuple(others) for first, *others in found.values()}

    @property
    def placed_anew(self) -> list[int]:
        """Indexes of the sources whose keys no producer placed where they lie."""
        return [*self.of_origin.values(), self.internal] if self.internal >= 0 else []

    def caught_up_us(self, read: Mapping[str, int], told: Mapping[int, int]) -> list[int]:
        """Return when each source was known to be read to its end, 0 while it is behind.

        Args:
            read: of each topic that is read.
            told: what the rekey tasks said of the sources of rekeyed events.
        """
        out = [read.get(name, 0) for name in self.names]
        for source in self.of_origin.values():
            out[source] = told.get(source, 0) if out[self.internal] else 0
        return out

    def held(self, sources: Iterable[int], has_events: Mask) -> frozenset[str]:
        """Return the topics not to be read further, for the sources that run ahead.

        The internal topic carries the slow with the quick: it waits only when all of it is ahead.

        Args:
            sources: that run ahead.
            has_events: (names,) the sources that ever had an event.
        """
        ahead = set(sources)
        held = {self.names[i] for i in ahead - set(self.placed_anew)} & set(self.topics)
        mine = [i for i in self.placed_anew if has_events[i]]
        if mine and ahead.issuperset(mine):
            held.add(self.names[self.internal])
        return frozenset(held)


def sources_of(telemetry: Sequence[str], internal: str, origins: Mapping[str, int]) -> Sources:
    """Return the sources of a join.

    Args:
        telemetry: all telemetry topics; their indexes stay as they are.
        internal: the topic of rekeyed events.
        origins: how many partitions each rekeyed topic has.

    Raises:
        ConfigError: they are more than the engine tells apart.
    """
    if not origins:
        return Sources(tuple(telemetry), tuple(telemetry))
    names = [*telemetry, internal]
    of_origin: dict[tuple[str, int], int] = {}
    for topic, partitions in origins.items():
        of_origin[topic, 0] = names.index(topic)
        for partition in range(1, partitions):
            of_origin[topic, partition] = len(names)
            names.append(f"{topic}/{partition}")
    if len(names) > SOURCES_MAX:
        raise ConfigError(
            f"rekey (SPANLOOM_REKEY): the topics have {sum(origins.values())} partitions in all; "
            f"with the other topics {SOURCES_MAX} can be told apart: name fewer topics"
        )
    topics = [topic for topic in telemetry if topic not in origins]
    return Sources(tuple(names), (*topics, internal), len(telemetry), of_origin)
