"""Which alerts are one problem: a partition of all alerts at hand, by their relations.

Owns the rule by which pairwise relations become groups:

1. An alert that others explain is a symptom: it goes with the one that explains it best, and binds
   nothing else together. So two causes with a symptom in common stay two.
2. Alerts that nothing explains are one problem when they are related to each other.
3. A group of those that is related to symptoms only goes with the one it is related to most.

Pinned alerts stay together whatever the relations say. Invariant: the partition is a function of
the latest state of each alert, not of the order in which the states came.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.core.incidents.candidates import Candidates
from streams.core.incidents.incident import Alert
from streams.core.incidents.relate import PINNED, Relation, Relations

_REASONS_MAX: Final = 100_000
_Weight = tuple[int, int, str]
"""Rank, time between the beginnings, fingerprint: the strongest relation is the least."""


@dataclass(slots=True, eq=False)
class Part:
    """Alerts that are one problem; `home` is for whoever keeps the books of it."""

    prints: set[str] = field(default_factory=set)
    home: str = ""


class Change(NamedTuple):
    """A group that may have changed, and those of its alerts that are new in it."""

    part: Part
    new: list[str]


class Link(NamedTuple):
    """With which alert another one goes, and why."""

    other: str
    rank: int
    reason: str


class _Union:
    """Disjoint sets; the least name of a set stands for it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._above = {name: name for name in names}

    def find(self, name: str) -> str:
        above = self._above
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._above[high] = low

    def sets(self) -> list[list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self._above):
            found.setdefault(self.find(name), []).append(name)
        return list(found.values())


class Partition:
    """The alerts at hand, their relations, and the groups that follow.

    Attributes:
        alerts: the latest state of each alert, by fingerprint.
        links: relations of each alert, by the other's fingerprint.
        frozen: alerts that an earlier version of this rule grouped: among them only pins hold.
    """

    def __init__(self, relations: Relations) -> None:
        self.relations = relations
        self.alerts: dict[str, Alert] = {}
        self.links: dict[str, dict[str, Relation]] = {}
        self.frozen: set[str] = set()
        self.pins: dict[str, set[str]] = {}
        self.part_of: dict[str, Part] = {}
        self._candidates = Candidates(relations.settings.min_shared)
        self._reasons: dict[str, str] = {}
        self._stale: set[str] = set()

    @property
    def left_out(self) -> int:
        """How many comparisons the bound on candidates left out."""
        return self._candidates.left_out

    # --- alerts come, change and go -------------------------------------------------------------

    def put(self, alert: Alert) -> None:
        """Take an alert's latest state in; its relations are looked at by `regroup`."""
        print_ = alert["fingerprint"]
        self.alerts[print_] = alert
        self._candidates.put(alert, self.relations.keys(alert))
        self._stale.add(print_)

    def drop(self, prints: Iterable[str]) -> None:
        """Let go of alerts whose incident is over."""
        for print_ in prints:
            if self.alerts.pop(print_, None) is None:
                continue
            self._candidates.drop(print_)
            for other in self.links.pop(print_, ()):
                self.links[other].pop(print_, None)
            for other in self.pins.pop(print_, ()):
                self.pins[other].discard(print_)
            self.frozen.discard(print_)
            self._stale.discard(print_)
            part = self.part_of.pop(print_, None)
            if part is not None:
                part.prints.discard(print_)

    def pin(self, one: str, other: str) -> None:
        """Keep two alerts together from now on."""
        if one == other:
            return
        self.pins.setdefault(one, set()).add(other)
        self.pins.setdefault(other, set()).add(one)
        self._stale |= {one, other}

    def unite(self, prints: Iterable[str], home: str = "") -> Part:
        """Make some alerts a group of their own, as it was decided elsewhere."""
        part = Part(set(prints), home)
        for print_ in part.prints:
            old = self.part_of.get(print_)
            if old is not None:
                old.prints.discard(print_)
            self.part_of[print_] = part
        return part

    def settle(self) -> None:
        """Look at the relations of all that is new, without grouping anything anew."""
        for print_ in sorted(self._stale):
            self._relink(print_)
        self._stale.clear()

    def is_explained(self, print_: str, within: Collection[str]) -> bool:
        """Say whether another alert, one of some, brings this one about."""
        links = self.links.get(print_, {})
        return any(link.cause not in ("", print_) and o in within for o, link in links.items())

    def regroup(self) -> list[Change]:
        """Return the groups that the changes since the last call have changed, in a fixed order."""
        changed = [print_ for print_ in sorted(self._stale) if self._relink(print_)]
        self._stale.clear()
        grown: dict[int, Change] = {}
        slow: list[str] = []
        for print_ in changed:
            if self._join_one(print_):
                part = self.part_of[print_]
                grown.setdefault(id(part), Change(part, [])).new.append(print_)
            else:
                slow.append(print_)
        changes = []
        for component in self._components(slow):
            for prints in self._parts(component):
                part = Part(set(prints))
                self.part_of.update(dict.fromkeys(prints, part))
                changes.append(Change(part, prints))
        changes += [c for c in grown.values() if self.part_of[c.new[0]] is c.part]
        return sorted(changes, key=lambda change: change.new)

    def _relink(self, print_: str) -> bool:
        """Compare an alert with its candidates; say whether its relations have changed."""
        alert, old = self.alerts[print_], self.links.get(print_, {})
        new: dict[str, Relation] = {}
        for other in self._candidates.near(print_):
            if print_ in self.frozen and other in self.frozen:
                continue
            relation = self.relations.between(alert, self.alerts[other])
            if relation is not None:
                reason = self._reasons.setdefault(relation.reason, relation.reason)
                new[other] = Relation(relation.rank, reason, relation.cause)
        for other in self.pins.get(print_, ()):
            new[other] = Relation(PINNED, "they were put together")
        is_new = print_ not in self.links
        self.links[print_] = new
        for other in old.keys() - new.keys():
            self.links[other].pop(print_, None)
        for other, relation in new.items():
            self.links.setdefault(other, {})[print_] = relation
        if len(self._reasons) > _REASONS_MAX:
            self._reasons.clear()
        return is_new or print_ not in self.part_of or _shape(old) != _shape(new)

    def _join_one(self, print_: str) -> bool:
        """Put a new alert into the one group it is related to, when that changes nothing else."""
        links = self.links[print_]
        if print_ in self.part_of or any(o not in self.part_of for o in links):
            return False  # it was grouped already, or it is related to others that are as new
        parts = {id(self.part_of[o]): self.part_of[o] for o in links}
        if len(parts) > 1 or any(link.cause == print_ for link in links.values()):
            return False
        is_symptom = any(link.cause for link in links.values())
        if is_symptom and not all(link.cause or self._is_symptom(o) for o, link in links.items()):
            return False  # it might draw those over that nothing explains
        part = next(iter(parts.values()), None) or Part()
        part.prints.add(print_)
        self.part_of[print_] = part
        return True

    def _is_symptom(self, print_: str) -> bool:
        return any(link.cause not in ("", print_) for link in self.links[print_].values())

    # --- groups ---------------------------------------------------------------------------------

    def _components(self, prints: Iterable[str]) -> list[list[str]]:
        """Return all alerts that some are related to, directly or not, by component.

        What was in a group with one of them comes along: a relation that held them may be gone.
        """
        seen: set[str] = set()
        expanded: set[int] = set()
        found = []
        for start in prints:
            if start in seen:
                continue
            seen.add(start)
            component, waiting = [], [start]
            while waiting:
                print_ = waiting.pop()
                component.append(print_)
                beside = set(self.links[print_])
                part = self.part_of.get(print_)
                if part is not None and id(part) not in expanded:
                    expanded.add(id(part))
                    beside |= part.prints
                waiting += beside - seen
                seen |= beside
            found.append(sorted(component))
        return found

    def _parts(self, prints: list[str]) -> list[list[str]]:
        union = _Union(prints)
        roots = _Union(prints)
        symptoms = set()
        for print_ in prints:
            cause = self._best_cause(print_)
            if cause:
                symptoms.add(print_)
                union.join(print_, cause)
        for print_ in prints:
            for other, link in self.links[print_].items():
                if link.rank == PINNED:
                    union.join(print_, other)
                elif not link.cause and not {print_, other} & symptoms:
                    union.join(print_, other)
                    roots.join(print_, other)
        nearest: dict[str, tuple[_Weight, str]] = {}
        for print_ in prints:
            if print_ in symptoms:
                continue
            for other in self.links[print_].keys() & symptoms:
                if not self.links[print_][other].cause:
                    root, weight = roots.find(print_), self._weight(print_, other)
                    nearest[root] = min(nearest.get(root, (weight, other)), (weight, other))
        for root, (_, other) in sorted(nearest.items()):
            union.join(root, other)
        return union.sets()

    def _best_cause(self, print_: str) -> str:
        causes = [
            self._weight(print_, other)
            for other, link in self.links[print_].items()
            if link.cause not in ("", print_)
        ]
        return min(causes)[2] if causes else ""

    def _weight(self, print_: str, other: str) -> _Weight:
        since = self.alerts[print_]["firing_since"] - self.alerts[other]["firing_since"]
        return self.links[print_][other].rank, abs(since), other

    def why(self, print_: str, within: Collection[str]) -> Link | None:
        """Return the strongest relation of an alert to others of its group; None without one."""
        links = self.links[print_]
        near = [self._weight(print_, o) for o in links if o in within and o != print_]
        if not near:
            return None
        other = min(near)[2]
        return Link(other, links[other].rank, links[other].reason)


def _shape(links: dict[str, Relation]) -> set[tuple[str, int, str]]:
    return {(other, link.rank, link.cause) for other, link in links.items()}
