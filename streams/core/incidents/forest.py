"""Who is brought about by whom, without circles: every chain of causes has a beginning.

Owns the choice of one cause for each alert. Of all that can have brought it about the strongest
relation counts; where alerts bring each other about in a circle, the circle as a whole goes with
what brings any of it about from outside (Chu and Liu 1965, Edmonds 1967: the least branching), and
begins at its own least member where nothing does. Pure; the answer does not depend on any order.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

Weight = tuple[int, int, str]
"""Rank, time between the beginnings, name of the cause: the strongest relation is the least."""


class Forest(NamedTuple):
    """The chosen cause of each name that has one.

    Attributes:
        cause: by name; following it ends.
        circled: names that are part of a circle of strongest relations.
    """

    cause: dict[str, str]
    circled: frozenset[str]


def forest(causes: Mapping[str, Sequence[Weight]], age: Mapping[str, int]) -> Forest:
    """Choose the causes.

    Args:
        causes: of each name all that may have brought it about; others than these names may be in.
        age: a circle that nothing from outside explains begins at its least name by this.
    """
    cause = {name: min(weights)[2] for name, weights in sorted(causes.items()) if weights}
    effects: dict[str, set[str]] = {}
    for name, other in cause.items():
        effects.setdefault(other, set()).add(name)
    circles = _circles(cause)
    for circle in circles:
        within = _below(circle, effects)
        ways = [
            (weight, name) for name in circle for weight in causes[name] if weight[2] not in within
        ]
        head = min(ways)[1] if ways else min(circle, key=lambda name: (age[name], name))
        effects[cause.pop(head)].discard(head)
        if ways:
            cause[head] = min(ways)[0][2]
            effects.setdefault(cause[head], set()).add(head)
    return Forest(cause, frozenset(name for circle in circles for name in circle))


def chain(name: str, cause: Mapping[str, str]) -> list[str]:
    """Return a name, its cause, the cause of that, and so on; the beginning is the last."""
    found = [name]
    while found[-1] in cause:
        found.append(cause[found[-1]])
    return found


def _circles(cause: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the circles that chains of causes end in, each sorted; every name is seen once."""
    found = []
    walk_of: dict[str, int] = {}
    for number, start in enumerate(cause):
        path = []
        name: str | None = start
        while name is not None and name not in walk_of:
            walk_of[name] = number
            path.append(name)
            name = cause.get(name)
        if name is not None and walk_of[name] == number:
            found.append(tuple(sorted(path[path.index(name) :])))
    return sorted(found)


def _below(circle: Sequence[str], effects: Mapping[str, Collection[str]]) -> set[str]:
    """Return all names whose chains of causes run into a circle, its own among them."""
    found = set(circle)
    waiting = list(circle)
    while waiting:
        new = [name for name in effects.get(waiting.pop(), ()) if name not in found]
        found.update(new)
        waiting += new
    return found
