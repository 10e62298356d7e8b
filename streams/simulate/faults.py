"""What can go wrong in the simulated pipeline, where and when.

Owns the kinds of fault and the question "does one of them strike here and now?". Refuses a fault
at a place that the contract does not have. Invariant: a fault strikes only in [start, end).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.errors import ConfigError
from streams.simulate.layout import Layout

MODULE_SILENT: Final = "module_silent"
CONTEXT_DROPPED: Final = "context_dropped"
SLOW_ENRICHMENT: Final = "slow_enrichment"
ACKNOWLEDGMENTS_LOST: Final = "acknowledgments_lost"
DUPLICATE_STORM: Final = "duplicate_storm"
CONTEXT_RESTARTED: Final = "context_restarted"
CLOCK_SKEW: Final = "clock_skew"

SLOW_DEPENDENCY: Final = "slow_dependency"
ERROR_BURST: Final = "error_burst"
MALFORMED_SOURCE: Final = "malformed_source"
SCHEMA_DRIFT: Final = "schema_drift"
QUEUE_BACKLOG: Final = "queue_backlog"
RETRY_STORM: Final = "retry_storm"
CACHE_STALE: Final = "cache_stale"
BREAKER_OPEN: Final = "breaker_open"
BACK_PRESSURE: Final = "back_pressure"
BUFFER_FULL: Final = "buffer_full"
DESTINATION_DOWN: Final = "destination_down"
DEAD_LETTER_GROWTH: Final = "dead_letter_growth"
BAD_DEPLOY: Final = "bad_deploy"
CONFIG_CHANGE: Final = "config_change"
WRONG_MODEL_VERSION: Final = "wrong_model_version"
FEATURE_DRIFT: Final = "feature_drift"

MODULE_KINDS: Final = (MODULE_SILENT, SLOW_ENRICHMENT, DUPLICATE_STORM)
"""Faults of a module: `where` is its name."""
EDGE_KINDS: Final = (CONTEXT_DROPPED, ACKNOWLEDGMENTS_LOST, CONTEXT_RESTARTED, CLOCK_SKEW)
"""Faults of an edge of the record flow: `where` is `near>far`."""
COMPONENT_KINDS: Final = (
    SLOW_DEPENDENCY,
    ERROR_BURST,
    MALFORMED_SOURCE,
    SCHEMA_DRIFT,
    QUEUE_BACKLOG,
    RETRY_STORM,
    CACHE_STALE,
    BREAKER_OPEN,
    BACK_PRESSURE,
    BUFFER_FULL,
    DESTINATION_DOWN,
    DEAD_LETTER_GROWTH,
    BAD_DEPLOY,
    CONFIG_CHANGE,
    WRONG_MODEL_VERSION,
    FEATURE_DRIFT,
)
"""Faults of the pipeline's own state, which cascade: `where` is `MODULE.component`."""
CHANGE_KINDS: Final = (BAD_DEPLOY, CONFIG_CHANGE, WRONG_MODEL_VERSION)
"""Faults that a change brought: an AUDIT event `change_applied` tells of it when they begin."""
KINDS: Final = MODULE_KINDS + EDGE_KINDS + COMPONENT_KINDS


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault; it strikes in [start_us, end_us), by the true time.

    What each kind does:
        module_silent: the module delivers no event that would leave it while the fault lasts.
        context_dropped: a share of the records loses its trace context on the hop; what follows
            is written as LOG events without a trace id.
        slow_enrichment: a stage whose span has `dimension` = `value` takes several deadlines.
        acknowledgments_lost: a share of the records never gets to the far stage.
        duplicate_storm: a share of the module's events is delivered twice.
        context_restarted: a share of the records goes on under a new trace id, with a new root.
        clock_skew: the clock of the far stage's module is off by `skew_us`.
        The faults of a component change the state of the pipeline's model (`modules/`), and spans
            and signals follow from that: queues fill, breakers open, errors and retries come.

    Attributes:
        kind: one of `KINDS`.
        where: a module, `near>far` with stage ids of the record flow, or `MODULE.component`.
        start_us, end_us: when it strikes, Unix microseconds, start < end.
        share: part of the records (or events) that it hits, 0 < share <= 1.
        dimension, value: which source, destination or hop it is about, where it is about one.
        skew_us: of clock_skew, what the clock shows less the true time; negative is behind.
        flap_us: how long it is on and then off, in turns, from its start on; 0 for always on.
    """

    kind: str
    where: str
    start_us: int
    end_us: int
    share: float = 1.0
    dimension: str = ""
    value: str = ""
    skew_us: int = 0
    flap_us: int = 0

    @property
    def edge(self) -> tuple[str, str] | None:
        """The (near, far) stages, None for a fault of a module."""
        near, arrow, far = self.where.partition(">")
        return (near, far) if arrow else None

    @property
    def component(self) -> tuple[str, str] | None:
        """The (module, component) of a fault of a component, else None."""
        module, dot, component = self.where.partition(".")
        return (module, component) if dot else None

    def is_on(self, at_us: int) -> bool:
        """Say whether it strikes at that time."""
        if not self.start_us <= at_us < self.end_us:
            return False
        return not self.flap_us or (at_us - self.start_us) // self.flap_us % 2 == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as a JSON-able mapping."""
        return asdict(self)


class FaultTable:
    """Answers, for the simulator, which fault strikes at a place and a time.

    Each answer is the fault's number in the list it was given, or None. Of several that fit, the
    first one strikes.
    """

    def __init__(self, layout: Layout, faults: Sequence[Fault]) -> None:
        for fault in faults:
            _check(layout, fault)
        self.faults = tuple(faults)
        modules = layout.stage_modules()
        self._module: dict[tuple[str, str], list[int]] = {}
        self._edge: dict[tuple[str, str, str], list[int]] = {}
        for number, fault in enumerate(self.faults):
            if fault.component is not None:
                continue  # it strikes the model, and the model everything else
            if fault.edge is None:
                self._module.setdefault((fault.kind, fault.where), []).append(number)
            elif fault.kind == CLOCK_SKEW:
                far_module = modules[fault.edge[1]]
                self._module.setdefault((fault.kind, far_module), []).append(number)
            else:
                self._edge.setdefault((fault.kind, *fault.edge), []).append(number)

    def at_module(self, kind: str, module: str, at_us: int) -> int | None:
        """Return the fault of that kind that strikes the module at that time."""
        return self._striking(self._module.get((kind, module)), at_us)

    def at_edge(self, kind: str, near: Sequence[str], far: str, at_us: int) -> int | None:
        """Return the fault of that kind that strikes an edge from one of `near` to `far`."""
        for stage in near:
            found = self._striking(self._edge.get((kind, stage, far)), at_us)
            if found is not None:
                return found
        return None

    def _striking(self, numbers: list[int] | None, at_us: int) -> int | None:
        for number in numbers or ():
            if self.faults[number].is_on(at_us):
                return number
        return None


def _check(layout: Layout, fault: Fault) -> None:
    place = f"fault {fault.kind!r} at {fault.where!r}"
    if fault.kind not in KINDS:
        raise ConfigError(f"{place}: unknown kind; use one of {', '.join(KINDS)}")
    if fault.start_us >= fault.end_us:
        raise ConfigError(f"{place}: start_us {fault.start_us} must be before end_us")
    if not 0 < fault.share <= 1:
        raise ConfigError(f"{place}: share {fault.share} must be over 0 and at most 1")
    if fault.flap_us < 0:
        raise ConfigError(f"{place}: flap_us {fault.flap_us} must not be negative")
    if fault.kind in COMPONENT_KINDS:
        _check_component(layout, fault, place)
    elif fault.kind in MODULE_KINDS:
        if fault.where not in layout.topics:
            known = ", ".join(layout.topics)
            raise ConfigError(f"{place}: unknown module; the contract has {known}")
    else:
        edges = {(near, s.id) for s in layout.record.stages for near in s.after}
        if fault.edge not in edges:
            known = ", ".join(sorted(">".join(edge) for edge in edges))
            raise ConfigError(f"{place}: no edge of the record flow; it has {known}")
    if fault.kind == SLOW_ENRICHMENT and not (fault.dimension and fault.value):
        raise ConfigError(f"{place}: name the slow spans by dimension and value")
    if fault.kind == CLOCK_SKEW and fault.skew_us == 0:
        raise ConfigError(f"{place}: skew_us must not be 0")


def _check_component(layout: Layout, fault: Fault, place: str) -> None:
    components = {f"{s.module}.{s.component}" for f in layout.flows.values() for s in f.stages}
    if fault.where not in components:
        known = ", ".join(sorted(components))
        raise ConfigError(
            f"{place}: no component with a stage of its own; the contract has {known}"
        )
