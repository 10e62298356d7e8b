"""Who is brought about by whom, without circles: every chain of causes has a beginning.

Owns the choice of one cause for each alert. Of all that can have brought it about the strongest
relation counts; where alerts bring each other about in a circle, the circle as a whole goes with
what brings any of it about from outside (Chu and Liu 1965, Edmonds 1967: the least branching), and
begins at its own least member where nothing does. Pure; the answer does not depend on any order.
"""

from collections.abc import Mapping, Sequence
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
    circles = sorted({tuple(sorted(_circle(start, cause))) for start in cause} - {()})
    for circle in circles:
        ways = [
            (weight, name)
            for name in circle
            for weight in causes[name]
            if not _leads_into(weight[2], circle, cause)
        ]
        if ways:
            (_, _, other), name = min(ways)
            cause[name] = other
        else:
            del cause[min(circle, key=lambda name: (age[name], name))]
    return Forest(cause, frozenset(name for circle in circles for name in circle))


def chain(name: str, cause: Mapping[str, str]) -> list[str]:
    """Return a name, its cause, the cause of that, and so on; the beginning is the last."""
    found = [name]
    while found[-1] in cause:
        found.append(cause[found[-1]])
    return found


def _circle(start: str, cause: Mapping[str, str]) -> list[str]:
    """Return the circle that the causes of a name end in; none for a chain that ends."""
    seen: dict[str, int] = {}
    path: list[str] = []
    name: str | None = start
    while name is not None and name not in seen:
        seen[name] = len(path)
        path.append(name)
        name = cause.get(name)
    return [] if name is None else path[seen[name] :]


def _leads_into(name: str, circle: Sequence[str], cause: Mapping[str, str]) -> bool:
    """Say whether the chain of a name runs into a circle."""
    inside = set(circle)
    seen: set[str] = set()
    at: str | None = name
    while at is not None and at not in seen:
        if at in inside:
            return True
        seen.add(at)
        at = cause.get(at)
    return False
