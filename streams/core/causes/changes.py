"""Evidence from changes: a deploy, a configuration or a flag that came shortly before the trouble.

A change speaks against its module the more, the less time passed between it and the onset. Alone it
proves nothing: most changes are harmless, so the ranking lets it count for no more than what else
is seen of the module.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.core.causes.evidence import CHANGE, Evidence
from streams.core.causes.parameters import CauseParameters
from streams.units import MINUTE_US, SECOND_US

CHANGE_SCORE = 24.0
CHANGE_EVENT = "change_applied"
"""Name of the AUDIT events that tell of changes; `operation` is DEPLOY, CONFIG or FLAG."""


class Change(NamedTuple):
    """One change: when, where, what kind (DEPLOY, CONFIG, FLAG), and its name or version."""

    at_us: int
    module: str
    kind: str
    name: str
    component: str = ""


def change_evidence(
    changes: Iterable[Change],
    onsets_us: Mapping[str, int],
    onset_us: int,
    parameters: CauseParameters,
) -> list[Evidence]:
    """Return the changes before the onset; their score halves with each half-life between.

    Args:
        changes: that were told of.
        onsets_us: since when the strongest evidence of a module is seen.
        onset_us: the same of the incident, for modules without evidence.
        parameters: the constants.
    """
    found = []
    for change in sorted(changes):
        before_us = onsets_us.get(change.module, onset_us) - change.at_us
        if before_us < 0:
            continue
        score = CHANGE_SCORE * 0.5 ** (before_us / parameters.change_halflife_us)
        if score < parameters.evidence_score:
            continue
        found.append(
            Evidence(
                CHANGE,
                change.module,
                change.component,
                change.name,
                since_us=change.at_us,
                score=score,
                sentence=f"{change.kind} {change.name} of {change.module} "
                f"{_span(before_us)} before the onset",
            )
        )
    return found


def _span(us: int) -> str:
    return f"{us / SECOND_US:.0f} s" if us < 2 * MINUTE_US else f"{us / MINUTE_US:.0f} min"
