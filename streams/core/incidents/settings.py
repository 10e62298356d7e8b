"""How alerts become incidents: every limit and time of the incident task, with its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.silences import Silence
from streams.units import MINUTE_US


@dataclass(frozen=True, slots=True)
class DampingSettings:
    """When an alert counts as flapping.

    Each flip (an end, or a beginning after an end) adds `flip` to the alert's penalty, which halves
    every `half_life_us`. From `suppress` on the alert is damped, until it has fallen to `reuse`.

    Attributes:
        half_life_us: in event time; 0 turns damping off.
        flip: penalty of one flip.
        suppress: two flips within a half-life are enough for the default.
        reuse: below it the alert is heard again.
        ceiling: the most that a penalty can be, so that a stable alert is heard again within
            log2(ceiling / reuse) half-lives.
        told: an incident says that it flaps when an alert of it has at least this penalty.
        max_alerts: bound on the alerts whose penalty is kept; the smallest go.

    Source: RFC 2439 (BGP route flap damping), with the figures of router vendors halved in scale.
    """

    half_life_us: int = 5 * MINUTE_US
    flip: float = 1_000.0
    suppress: float = 1_500.0
    reuse: float = 1_000.0
    ceiling: float = 8_000.0
    told: float = 3_000.0
    max_alerts: int = 50_000


@dataclass(frozen=True, slots=True)
class IncidentSettings:
    """How alerts become incidents, and how many are kept.

    Attributes:
        relations: when two alerts are one problem.
        damping: when an alert flaps.
        quiet_us: an incident is resolved when all its alerts are and this has passed, by the event
            time of other alerts or, once all input is read, by the clock.
        reopen_us: an alert that fires again within this time of the end reopens its incident.
        hold_us: so long the first alert of a problem waits for others before the incident opens;
            within it the order in which alerts arrive changes nothing.
        update_us: alerts that join within this time of an event are told together after it.
        steady_us: while an alert began within this event time, what may still grow waits longer, up
            to twice `update_us` after the event.
        refresh_us: alerts that joined and were no news are told after this time, if nothing else
            told them.
        escalate_us: by severity, how long an incident may stay unacknowledged; none does not
            escalate.
        occurrences: by rule id or kind, how often an alert must fire before it is told.
        min_occurrences: the same where `occurrences` names neither.
        maintenance: silences that the contract declares.
        causes: constants of the evidence that causes are ranked by.
        max_open: bound on open incidents; a problem beyond it waits for its alerts' next states.
        max_alerts: bound on the alerts of one incident; further ones are counted only.
        max_resolved: bound on the resolved incidents kept for reopening; the oldest go.
        max_ids: bound on the trace and record ids of an event.
        max_told_alerts: bound on the alerts listed in an event; the record says how many there are.
        max_history: bound on what an incident remembers of its versions.
        max_commands: bound on the command ids remembered; the oldest go.
        max_silences: bound on silences from commands.
        max_ledger_days: how many days of the noise ledger are kept in the state.
    """

    relations: RelationSettings = field(default_factory=RelationSettings)
    damping: DampingSettings = field(default_factory=DampingSettings)
    quiet_us: int = MINUTE_US
    reopen_us: int = 30 * MINUTE_US
    hold_us: int = 0
    update_us: int = 0
    steady_us: int = 0
    refresh_us: int = 5 * MINUTE_US
    escalate_us: Mapping[str, int] = field(default_factory=dict)
    occurrences: Mapping[str, int] = field(default_factory=dict)
    min_occurrences: int = 1
    maintenance: tuple[Silence, ...] = ()
    causes: CauseParameters = PARAMETERS
    max_open: int = 500
    max_alerts: int = 20_000
    max_resolved: int = 500
    max_ids: int = 50
    max_told_alerts: int = 100
    max_history: int = 50
    max_commands: int = 10_000
    max_silences: int = 1_000
    max_ledger_days: int = 8

    @classmethod
    def matching(
        cls,
        merge: MergeSettings,
        quiet_us: int,
        damping: DampingSettings | None = None,
        hold_us: int = 0,
        update_us: int = 0,
        refresh_us: int = 5 * MINUTE_US,
        escalate_us: Mapping[str, int] | None = None,
        occurrences: Mapping[str, int] | None = None,
        maintenance: tuple[Silence, ...] = (),
        min_occurrences: int = 1,
        causes: CauseParameters = PARAMETERS,
    ) -> Self:
        """Return settings in proportion to the windows that the alerts were measured over.

        Two onsets can be told apart no better than a few windows, so those of one cause count as
        together within three windows, or a fifth of the short burn window where that is more. An
        alert is known two windows after it began, so that the picture of an incident has settled
        when the two after that have brought none.
        """
        relations = RelationSettings(
            causal_us=max(3 * merge.window_us, merge.short_us // 5),
            short_us=merge.short_us,
            slo_ratio=merge.slo_ratio,
        )
        return cls(
            relations=relations,
            damping=damping or DampingSettings(),
            quiet_us=quiet_us,
            reopen_us=2 * merge.short_us,
            hold_us=hold_us,
            update_us=update_us,
            steady_us=STEADY_WINDOWS * merge.window_us,
            refresh_us=max(refresh_us, update_us),
            escalate_us=escalate_us or {},
            occurrences=occurrences or {},
            maintenance=maintenance,
            min_occurrences=min_occurrences,
            causes=causes,
        )

    def occurrences_of(self, rule: str, kind: str) -> int:
        """Return how often an alert of a rule has to fire before an incident tells it."""
        return self.occurrences.get(rule, self.occurrences.get(kind, self.min_occurrences))


STEADY_WINDOWS = 4
"""See `IncidentSettings.matching`."""
LEDGER_EVERY_US = MINUTE_US
"""How often changed rows of the noise ledger are published."""
