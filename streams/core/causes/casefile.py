"""The evidence of one incident, as it came: the latest counts in full, older fades.

What was seen a moment ago and is gone says less than what is seen now: an incident that opens on
noise must not keep its first suspect. Owns the fading. Invariant: what the file says at a time is a
function of what was added before, and of nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from heapq import nsmallest
from typing import Any

from streams.core.causes.evidence import Evidence
from streams.core.causes.parameters import CauseParameters
from streams.core.causes.strength import source_of, strength

Key = tuple[str, str, str, str, str, str]


@dataclass(slots=True)
class CaseFile:
    """The evidence of one incident, the strongest of each place and kind of observation.

    Attributes:
        parameters: the constants.
        items_max: bound on what is kept; the weakest go. 0 for none.
        seen: when and what, by key.
        left_out: how much went for the bound.
    """

    parameters: CauseParameters
    items_max: int = 0
    left_out: int = 0
    seen: dict[Key, tuple[int, Evidence]] = field(default_factory=dict)

    def add(self, evidence: Iterable[Evidence], now_us: int) -> None:
        """Take what is seen now in; what was stronger before counts as far as it has not faded.

        What has faded is forgotten.
        """
        oldest_us = now_us - self.parameters.incident_window_us
        self.seen = {key: known for key, known in self.seen.items() if known[0] > oldest_us}
        for item in evidence:
            key = _key(item)
            known = self.seen.get(key)
            if known is None or self._faded(known, now_us).bits <= item.bits:
                since_us = min(item.since_us, known[1].since_us) if known else item.since_us
                self.seen[key] = (now_us, replace(item, since_us=since_us))
        excess = len(self.seen) - self.items_max if self.items_max else 0
        if excess > 0:
            weakest = nsmallest(excess, self.seen, key=lambda k: self._strength(k, now_us))
            self.left_out += len(weakest)
            for key in weakest:
                del self.seen[key]

    def evidence(self, now_us: int) -> list[Evidence]:
        """Return all evidence with what is left of its bits; what has faded is left out."""
        oldest_us = now_us - self.parameters.incident_window_us
        kept = (key for key in sorted(self.seen) if self.seen[key][0] > oldest_us)
        return [self._faded(self.seen[key], now_us) for key in kept]

    def rows(self) -> list[list[Any]]:
        """Return what is in the file as JSON-able data."""
        return [
            [seen_us, asdict(item) | {"trace_ids": list(item.trace_ids)}]
            for seen_us, item in self.seen.values()
        ]

    def take_over(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take over what `rows` told."""
        for seen_us, fields in rows:
            item = Evidence(**fields | {"trace_ids": tuple(fields["trace_ids"])})
            self.seen[_key(item)] = (seen_us, item)

    def _strength(self, key: Key, now_us: int) -> tuple[float, Key]:
        item = self._faded(self.seen[key], now_us)
        return strength(item, self.parameters), key

    def _faded(self, known: tuple[int, Evidence], now_us: int) -> Evidence:
        seen_us, item = known
        left = 0.5 ** (max(0, now_us - seen_us) / self.parameters.fade_halflife_us)
        return replace(item, bits=item.bits * left)


def _key(item: Evidence) -> Key:
    place = item.module, item.component
    return source_of(item), *place, item.name, item.from_stage, item.to_stage
