"""Which alerts are one problem: a partition of all alerts at hand, by their relations.

Owns the rule by which pairwise relations become groups:

1. An alert that others lead (they explain it, or were at its place before) goes with the one it is
   related to most, and binds nothing else together. So two causes with a symptom in common stay
   two. Alerts that lead each other in a circle go, all of them, with what leads one of them from
   outside.
2. Alerts that nothing explains are one problem when they are related to each other.
3. A group of those that is related to symptoms only goes with the one it is related to most.

Pinned alerts stay together whatever the relations say. Invariant: the partition is a function of
the latest state of each alert, not of the order in which the states came.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.core.incidents.candidates import Candidates
from streams.core.incidents.forest import Weight, forest
from streams.core.incidents.incident import Alert
from streams.core.incidents.relate import PINNED, Relation, Relations, Signature

_REASONS_MAX: Final = 100_000


@dataclass(slots=True, eq=False)
class Part:
    """Alerts that are one problem; `home` is for whoever keeps the books of it."""

    prints: set[str] = field(default_factory=set)
    home: str = ""


class _Roots:
    """Alerts that nothing explains and that are one problem, and the symptom they go with.

    Attributes:
        attach: the strongest relation of any of them to a symptom; None without one.
        above: what they are part of now; itself when they stand for themselves.
    """

    __slots__ = ("above", "attach")

    def __init__(self, attach: Weight | None) -> None:
        self.attach = attach
        self.above: _Roots = self

    def find(self) -> "_Roots":
        found = self
        while found.above is not found:
            found = found.above
        return found


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
        self._signatures: dict[str, Signature] = {}
        self._former: dict[str, Signature] = {}
        self._best: dict[str, Weight] = {}
        self._circled: set[str] = set()
        self._root_of: dict[str, _Roots] = {}

    @property
    def left_out(self) -> int:
        """How many comparisons the bound on candidates left out."""
        return self._candidates.left_out

    # --- alerts come, change and go -------------------------------------------------------------

    def put(self, alert: Alert) -> None:
        """Take an alert's latest state in; its relations are looked at by `regroup`."""
        print_ = alert["fingerprint"]
        signature = self.relations.signature(alert)
        self.alerts[print_] = alert
        if self._signatures.get(print_) != signature:
            self._signatures[print_] = signature
            self._candidates.put(alert, self.relations.keys(alert))
            self._stale.add(print_)

    def drop(self, prints: Iterable[str]) -> None:
        """Let go of alerts whose incident is over."""
        for print_ in prints:
            if self.alerts.pop(print_, None) is None:
                continue
            self._candidates.drop(print_)
            del self._signatures[print_]
            self._former.pop(print_, None)
            self._best.pop(print_, None)
            self._circled.discard(print_)
            self._root_of.pop(print_, None)
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

    def settle(self, prints: Collection[str] | None = None) -> None:
        """Look at the relations of what is new, without grouping anything anew.

        Args:
            prints: only of these; what else is new still waits for `regroup`. None for all.
        """
        stale = sorted(self._stale if prints is None else self._stale & set(prints))
        for print_ in stale:
            self._relink(print_)
        self._stale.difference_update(stale)
        for component in self._components(stale):
            self._parts(component)  # for who goes with whom, which a later alert is held against

    def cause_of(self, print_: str, within: Collection[str]) -> str:
        """Return which of some alerts most likely brings this one about; "" when none does."""
        links = self.links.get(print_, {})
        known = [self._weight(print_, o) for o in links if o in within and links[o].cause == o]
        return min(known)[2] if known else ""

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
        alert, old = self.alerts[print_], self.links.get(print_)
        stale, self._former[print_] = self._former.get(print_), self._signatures[print_]
        is_new = old is None or stale is None or stale[0] != self._signatures[print_][0]
        # One that only lasts longer loses no relation; it may gain some.
        has_grown = not is_new and stale is not None and stale[1] <= self._signatures[print_][1]
        kept = old or {}
        near = {*self._candidates.near(print_, is_new), *(() if has_grown else kept)}
        new: dict[str, Relation] = {}
        for other in near - kept.keys() if has_grown else near:
            if print_ in self.frozen and other in self.frozen:
                continue
            relation = self.relations.between(alert, self.alerts[other])
            if relation is not None:
                reason = self._reasons.setdefault(relation.reason, relation.reason)
                new[other] = relation._replace(reason=reason)
        for other in self.pins.get(print_, ()):
            new[other] = Relation(PINNED, "they were put together")
        if len(self._reasons) > _REASONS_MAX:
            self._reasons.clear()
        gone = [] if has_grown else [other for other in kept if other not in new]
        has_changed = bool(gone) or any(
            other not in kept or kept[other]._replace(reason=link.reason) != link
            for other, link in new.items()
        )
        for other in gone:
            self.links[other].pop(print_, None)
        for other, relation in new.items():
            self.links.setdefault(other, {})[print_] = relation
        self.links[print_] = {**kept, **new} if has_grown else new
        return old is None or print_ not in self.part_of or has_changed

    def _join_one(self, print_: str) -> bool:
        """Put a new alert into the one group it is related to, when that changes nothing else."""
        if print_ in self.part_of:
            return False
        # Others that are as new see it when their turn comes.
        links = {o: link for o, link in self.links[print_].items() if o in self.part_of}
        if any(link.rank == PINNED for link in links.values()) or self._draws(print_, links):
            return False
        best = self._best_leader(print_, links)
        part = self.part_of[best[2]] if best else self._part_of_root(print_, links)
        if part is None:
            return False
        if best:
            for other, link in links.items():
                roots = self._root_of.get(other)
                if roots is None or link.leader:
                    continue
                weight = self._weight(other, print_)
                roots = roots.find()
                if self.part_of[other] is not part:
                    if roots.attach is None or weight < roots.attach:
                        return False
                elif roots.attach is None:
                    roots.attach = weight
                elif weight < roots.attach:
                    return False
            self._best[print_] = best
        part.prints.add(print_)
        self.part_of[print_] = part
        return True

    def _draws(self, print_: str, links: Mapping[str, Relation]) -> bool:
        """Say whether a new alert explains another one better than what that one goes with."""
        return any(
            link.leader == print_
            and (
                other in self._circled
                or other not in self._best
                or self._weight(other, print_) < self._best[other]
            )
            for other, link in links.items()
        )

    def _part_of_root(self, print_: str, links: Mapping[str, Relation]) -> Part | None:
        """Return the group of a new alert that nothing explains; None where groups would change."""
        near: list[Weight] = []
        beside: list[_Roots] = []
        for other, link in links.items():
            roots = self._root_of.get(other)
            if roots is not None:
                beside.append(roots.find())
            elif not link.leader:
                near.append(self._weight(print_, other))
        beside = list(dict.fromkeys(beside))
        attach = min(near) if near else None
        if not beside:
            self._root_of[print_] = _Roots(attach)
            return self.part_of[attach[2]] if attach else Part()
        attached = [roots.attach for roots in beside if roots.attach is not None]
        parts = {id(self.part_of[o]): self.part_of[o] for o in links if o in self._root_of}
        if len(parts) > 1 or len(attached) > 1:
            return None
        (part,) = parts.values()
        if attach is not None:
            if attached and attach < attached[0]:
                return None
            if not attached and self.part_of[attach[2]] is not part:
                return None
        head = beside[0]
        head.attach = attached[0] if attached else attach
        for roots in beside[1:]:
            roots.above = head
        self._root_of[print_] = head
        return part

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
        causes = {print_: self._leaders(print_, self.links[print_]) for print_ in prints}
        symptoms = {print_ for print_ in prints if causes[print_]}
        for print_ in prints:
            self._best.pop(print_, None)
            self._root_of.pop(print_, None)
        self._best.update({print_: min(causes[print_]) for print_ in symptoms})
        since = {print_: self.alerts[print_]["firing_since"] for print_ in prints}
        chosen = forest(causes, since)
        self._circled = self._circled.difference(prints) | chosen.circled
        for print_, other in chosen.cause.items():
            union.join(print_, other)
        for print_ in prints:
            for other, link in self.links[print_].items():
                if link.rank == PINNED:
                    union.join(print_, other)
                elif not link.leader and print_ not in symptoms and other not in symptoms:
                    union.join(print_, other)
                    roots.join(print_, other)
        nearest: dict[str, _Roots] = {}
        for print_ in prints:
            if print_ in symptoms:
                continue
            root = self._root_of[print_] = nearest.setdefault(roots.find(print_), _Roots(None))
            for other, link in self.links[print_].items():
                if other in symptoms and not link.leader:
                    weight = self._weight(print_, other)
                    root.attach = min(weight, root.attach or weight)
        for name, root in nearest.items():
            if root.attach is not None:
                union.join(name, root.attach[2])
        return union.sets()

    def _best_leader(self, print_: str, links: Mapping[str, Relation]) -> Weight | None:
        return min(self._leaders(print_, links), default=None)

    def _leaders(self, print_: str, links: Mapping[str, Relation]) -> list[Weight]:
        """Return all that an alert may go with: what may have brought it about, or was there."""
        return [
            self._weight(print_, other)
            for other, link in links.items()
            if link.leader not in ("", print_)
        ]

    def _weight(self, print_: str, other: str) -> Weight:
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
