"""Trouble on calls between modules becomes trouble of a module.

A delay between two modules may be the fault of either. The module whose calls are all slow is more
likely at fault than one that has a single slow call among many: modules are taken greedily by what
they explain, as in set cover, and a call explained is not counted again.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

Call = tuple[str, str]


class Blame(NamedTuple):
    """A module's part in slow calls.

    Attributes:
        score: the largest among the calls that it explains.
        share: how many of its calls in that role are slow, 0 to 1.
        call: the one with that score.
    """

    score: float
    share: float
    call: Call


def blame(scores: Mapping[Call, float], calls: Collection[Call]) -> dict[str, Blame]:
    """Return, by module, what its calls say of it.

    A module is judged in two roles: as the callee of all who call it, and as the caller of all that
    it calls. A fault of its own shows in one of them throughout.

    Args:
        scores: of each slow call (caller, callee), > 0.
        calls: all calls that were measured, slow or not.

    Returns:
        Of each module blamed; empty when no call is slow.
    """
    roles: dict[tuple[str, int], set[Call]] = {}
    for call in {*calls, *scores}:
        for role, module in enumerate(call):
            roles.setdefault((module, role), set()).add(call)
    share = {key: sum(c in scores for c in own) / len(own) for key, own in roles.items()}
    left = dict(scores)
    blamed: dict[str, Blame] = {}
    while left:
        gains = {
            key: share[key] * sum(left[c] for c in sorted(own) if c in left)
            for key, own in roles.items()
        }
        # Of two ends that explain as much, the callee: it may serve nobody else.
        best = max(sorted(gains), key=lambda key: (gains[key], key[1]))
        explained = sorted(c for c in roles[best] if c in left)
        worst = max(explained, key=left.__getitem__)
        found = Blame(left[worst], share[best], worst)
        if best[0] not in blamed or blamed[best[0]].score * blamed[best[0]].share < (
            found.score * found.share
        ):
            blamed[best[0]] = found
        for call in explained:
            del left[call]
    return blamed
