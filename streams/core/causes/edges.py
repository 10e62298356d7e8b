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
        share: how many of all its calls are slow, 0 to 1.
        call: the one with that score.
    """

    score: float
    share: float
    call: Call


def blame(scores: Mapping[Call, float], calls: Collection[Call]) -> dict[str, Blame]:
    """Return, by module, what its calls say of it.

    Args:
        scores: of each slow call (caller, callee), > 0.
        calls: all calls that were measured, slow or not.

    Returns:
        Of each module blamed; empty when no call is slow.
    """
    touching: dict[str, set[Call]] = {}
    for call in {*calls, *scores}:
        for module in call:
            touching.setdefault(module, set()).add(call)
    left = dict(scores)
    blamed: dict[str, Blame] = {}
    while left:
        gains = {
            module: sum(left[c] for c in sorted(own) if c in left)
            * sum(c in scores for c in own)
            / len(own)
            for module, own in touching.items()
            if module not in blamed
        }
        best = max(sorted(gains), key=gains.__getitem__)
        explained = sorted(c for c in touching[best] if c in left)
        if not explained:
            break
        worst = max(explained, key=left.__getitem__)
        share = sum(c in scores for c in touching[best]) / len(touching[best])
        blamed[best] = Blame(left[worst], share, worst)
        for call in explained:
            del left[call]
    return blamed
