"""What the modules of one pipeline share within a second: load, faults, and each other's flows."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.simulate.faults import BAD_DEPLOY, ERROR_BURST
from streams.simulate.modules.parts import STATES, Breaker, Happening, Knobs, Recorder, Second


class Trouble(NamedTuple):
    """What a fault in a component's own code does: how much slower it is, which share fails."""

    slow: float
    fails: float


@dataclass
class World:
    """One second of the pipeline, as its modules see it.

    Attributes:
        rate: records a second that are normal.
        out: takes what the modules say.
        knobs: the faults of this second.
        loads: how much of its normal load each source sends.
        to_beta, to_gamma: records handed over in this second.
        throttle: by hop, which part of the flow is held back, from the second before.
        hit_ratio: of the cache, for enrichment.
        drift: by source, how far its schema has drifted.
        completeness: share of the records whose enrichment is no fallback.
        warmth: how warm scheduled jobs keep the cache, 0 to 1.
        stale: part of the cache's entries that should not be served any more.
        beta_wait_s, gamma_wait_s: how long records wait before BETA and GAMMA.
        delivered: records delivered in this second.
    """

    rate: float
    out: Recorder
    knobs: Knobs = field(default_factory=lambda: Knobs((), 0))
    loads: dict[str, float] = field(default_factory=dict)
    to_beta: float = 0.0
    to_gamma: float = 0.0
    throttle: dict[str, float] = field(default_factory=dict)
    hit_ratio: float = 0.85
    drift: dict[str, float] = field(default_factory=dict)
    completeness: float = 1.0
    warmth: float = 1.0
    stale: float = 0.0
    beta_wait_s: float = 0.0
    gamma_wait_s: float = 0.0
    delivered: float = 0.0

    @property
    def second(self) -> Second:
        """The second that is being made."""
        return self.out.second

    def load(self, source: str) -> float:
        """Return how much of its normal load a source sends."""
        return self.loads.get(source, 1.0)

    def trouble(self, module: str, component: str) -> Trouble:
        """Return what bursts of errors and bad deploys do to a component."""
        place = f"{module}.{component}"
        burst = self.knobs.on(ERROR_BURST, where=place)
        deploy = self.knobs.on(BAD_DEPLOY, where=place)
        return Trouble(1 + 1.8 * deploy, max(0.35 * burst, 0.22 * deploy))

    def tell(
        self,
        module: str,
        component: str,
        name: str,
        severity: str,
        dimensions: dict[str, str],
        value: float = math.nan,
        unit: str = "",
    ) -> None:
        """Tell a named event of this second as a log line."""
        said = Happening(module, component, name, "LOG", severity, dimensions, value, unit)
        self.second.happenings.append(said)

    def tell_circuit(
        self,
        breaker: Breaker,
        place: tuple[str, str],
        about: tuple[str, str],
        before: int,
        impact: float,
    ) -> None:
        """Tell that a breaker changed its state, and how many records a second that will touch."""
        named = {about[0]: about[1], "from": STATES[before], "to": STATES[breaker.state]}
        severity = "ERROR" if breaker.is_open else "WARN"
        value = impact if breaker.is_open else 0.0
        self.tell(*place, "circuit_state_changed", severity, named, value, "records/s")
