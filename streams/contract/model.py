"""The pipeline contract as typed values: what one YAML file may say, and nothing else.

Owns the shape of the contract (strict, frozen, unknown keys refused) and the answers that follow
from it alone: a stage's owner, a module's topic, an edge's objective. What ties its parts together
(unknown stages, cycles) is checked in `checks.py`; lines of the file are known only to `loader.py`.
Invariant: a `Contract` that exists has passed both.
"""

from typing import Annotated, Any, Final, Self

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from streams.contract.checks import (
    OBJECTIVE_DEFAULTS,
    STAGES_MAX,
    WAIT_MS_DEFAULT,
    find_problems,
    path_text,
)
from streams.contract.incident_rules import IncidentRules
from streams.contract.notify import Notify
from streams.contract.operations import OperationRules
from streams.contract.part import Identifier, Part, Text
from streams.contract.rules import ExternalAlerts, Rule
from streams.contract.signals import NamedEvent, Signal, Values

PROBLEM_TYPE: Final = "contract_problem"
"""Pydantic error type of what `checks.find_problems` finds; the loader reports those itself."""

Ratio = Annotated[float, Field(ge=0, le=1)]
# Below 1: the burn rate divides by the error budget, 1 - objective.
Objective = Annotated[float, Field(gt=0, lt=1)]
Milliseconds = Annotated[int, Field(gt=0, le=24 * 3600 * 1000)]
Seconds = Annotated[float, Field(gt=0, le=90 * 24 * 3600)]
RULES_MAX: Final = 500
"""Every rule is asked of every series when the series is first seen."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
# YAML has lists only; the model is frozen, so they become tuples (their items stay strict).
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class Component(Part):
    """What a component of a module cannot do without, for the search of causes.

    Attributes:
        needs: `MODULE.component` whose trouble becomes this one's, besides those that hand over to
            it in a flow.
        reports: it only tells of other components of its module: never a cause itself.
    """

    needs: Texts = ()
    reports: bool = False


class Module(Part):
    """Who answers for a module and where its telemetry arrives.

    Attributes:
        owner: the team that answers for it; "" is shown as unowned.
        channel: where the team reads.
        tier: 1 (most critical) to 4.
        depends_on: modules whose trouble becomes this module's trouble.
        topic: the topic of its telemetry; None for `telemetry.<name in lower case>.v1`.
        playbook: key into the contract's playbooks.
        components: those of which more is known than the flows and signals say, by name.
    """

    owner: str = ""
    channel: str = ""
    tier: Annotated[int, Field(ge=1, le=4)] = 3
    depends_on: Texts = ()
    topic: Text | None = None
    playbook: Text | None = None
    components: dict[Text, Component] = Field(default_factory=dict)


class Service(Part):
    """Where the telemetry of a service stands that OpenTelemetry instruments.

    Attributes:
        module: the module that the service is, or is part of.
        component: the component that it is; "" where its events say it.
    """

    module: Text
    component: Annotated[str, Field(max_length=256)] = ""


class When(Part):
    """The stage is required when an upstream stage carries one of these dimension values.

    Attributes:
        stage: id of an upstream stage of the same flow.
        dimension: key of the span's dimensions.
        values: the values that require the stage; written `in` in the file.
    """

    stage: Identifier
    dimension: Text
    values: Annotated[tuple[Text, ...], Field(alias="in", strict=False, min_length=1)]


class Stage(Part):
    """One span that a record is expected to leave behind.

    Attributes:
        id: its name in this flow, the label of its edges.
        module: the module that emits the span.
        component: the component that emits it; "" for any.
        name: the span's name.
        after: ids of the stages that must be over before it; empty for the entry alone.
        required: whether a trace without it is incomplete.
        when: makes it required for some records only.
        min_count: how many distinct spans it needs.
        deadline_ms: the end of the stage comes at most this long after the end of its latest
            predecessor; for the entry after its own start.
        acknowledges: whether its span is the far side's confirmation; its loss is a missing
            acknowledgment, not merely a lost span.
        owner: who answers for it; None for the module's owner.
        playbook: key into the contract's playbooks; None for the module's.
    """

    id: Identifier
    module: Text
    component: Annotated[str, Field(max_length=256)] = ""
    name: Text
    after: Annotated[tuple[Identifier, ...], Field(strict=False)] = ()
    required: bool = True
    when: When | None = None
    min_count: Count = 1
    deadline_ms: Milliseconds | None = None
    acknowledges: bool = False
    owner: Text | None = None
    playbook: Text | None = None


class Flow(Part):
    """One expected path through the pipeline: a directed acyclic graph of stages.

    Attributes:
        entry: id of the stage that starts the trace.
        wait_ms: how long a trace may stay open, from its first span.
        settle_ms: how long a trace with all required stages waits for its optional ones.
        slo: share of the flow's traces that keep all required stages; None for `slos.fidelity`.
        stages: the stages, in any order.
    """

    entry: Identifier
    wait_ms: Milliseconds = WAIT_MS_DEFAULT
    settle_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 200
    slo: Objective | None = None
    stages: Annotated[tuple[Stage, ...], Field(strict=False, min_length=1, max_length=STAGES_MAX)]

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """The (near, far) stage ids of every edge, far stages in the order of the file."""
        return tuple((near, stage.id) for stage in self.stages for near in stage.after)

    def stage(self, stage_id: str) -> Stage:
        """Return the stage with that id; KeyError when the flow has none."""
        for stage in self.stages:
            if stage.id == stage_id:
                return stage
        raise KeyError(stage_id)


class EdgeObjective(Part):
    """The fidelity objective of one edge, where it differs from its flow's.

    Attributes:
        flow: id of the flow.
        from_stage: id of the near stage.
        to_stage: id of the far stage.
        fidelity: share of the records at the near stage whose far span carries the same trace.
    """

    flow: Identifier
    from_stage: Identifier
    to_stage: Identifier
    fidelity: Objective


class Objectives(Part):
    """What share of the telemetry must arrive, and how fast the error budget may burn.

    Attributes:
        fidelity: objective where neither edge nor flow says another.
        short_s: the short burn window.
        long_s: the long burn window; an alert needs both over its rate.
        burn_rate: budget use, in multiples of the even rate, that raises a critical alert.
        burn_rate_slow: the same for a warning.
        min_count: expected records in the short window below which nothing is judged.
        edges: objectives of single edges.

    Source: Google SRE workbook, chapter 5 (multi-window, multi-burn-rate alerts).
    """

    fidelity: Objective = 0.999
    short_s: Seconds = OBJECTIVE_DEFAULTS["short_s"]
    long_s: Seconds = OBJECTIVE_DEFAULTS["long_s"]
    burn_rate: Annotated[float, Field(gt=0)] = OBJECTIVE_DEFAULTS["burn_rate"]
    burn_rate_slow: Annotated[float, Field(gt=0)] = OBJECTIVE_DEFAULTS["burn_rate_slow"]
    min_count: Count = 20
    edges: Annotated[tuple[EdgeObjective, ...], Field(strict=False)] = ()


class Thresholds(Part):
    """Where counts become alerts; each ratio is of the scope's own spans, events or traces.

    Attributes:
        error_ratio: spans of a stage with status ERROR.
        deadline_ratio: passages of a stage over its deadline.
        duplicate_ratio: events of a module seen before.
        late_ratio: spans of a module that came after their trace's first revision.
        untraced_ratio: LOG and AUDIT events of a module without a trace id.
        rejected_ratio: events that could not be read.
        skew_ms: how far an edge's far stage may seem to start before its near one.
        silent_s: how long a module that spoke may say nothing while others go on.
        min_count: spans, events or traces in a window below which no ratio is judged.
    """

    error_ratio: Ratio = 0.05
    deadline_ratio: Ratio = 0.05
    duplicate_ratio: Ratio = 0.05
    late_ratio: Ratio = 0.05
    untraced_ratio: Ratio = 0.05
    rejected_ratio: Ratio = 0.01
    skew_ms: Milliseconds = 100
    silent_s: Seconds = 60.0
    min_count: Count = 20


class Contract(Part):
    """What a pipeline promises; exists only when every check has passed.

    Attributes:
        version: the contract's own version, stamped on every derived record.
        name: the pipeline's name.
        modules: by name, as the `module` field of its events spells it.
        services: modules of OpenTelemetry's services, by `service.name`, where the names differ.
        flows: by id.
        operations: rules learned from recorded traces; None when there are none.
        slos: objectives and burn windows.
        thresholds: where counts become alerts.
        incidents: how incidents are told: escalation, occurrences, maintenance windows.
        field_classes: class (PII, SENSITIVE, PUBLIC) of an event's field or `dimensions.<key>`.
        metric_names: old metric name to new.
        invariants: reserved for reconciliation; kept as written.
        playbooks: by key, a text or a URL.
        dimensions: the values of each dimension that signals vary in.
        requirements: what signals answer, by key.
        signals: the metrics that the modules emit.
        events: the named events that they emit besides.
        external_alerts: how the labels of alerts from outside are read.
        rules: alert rules over metric points, log lines and rejected events.
        notify: who is told of incidents; None for nobody.
    """

    version: Text
    name: Text
    modules: Annotated[dict[Text, Module], Field(min_length=1)]
    services: dict[Text, Service] = Field(default_factory=dict)
    flows: dict[Identifier, Flow] = Field(default_factory=dict)
    operations: OperationRules | None = None
    slos: Objectives = Objectives()
    thresholds: Thresholds = Thresholds()
    incidents: IncidentRules = IncidentRules()
    field_classes: dict[Text, Annotated[str, Field(pattern=r"^(PII|SENSITIVE|PUBLIC)$")]] = Field(
        default_factory=dict
    )
    metric_names: dict[Text, Text] = Field(default_factory=dict)
    invariants: list[JsonValue] = Field(default_factory=list)
    playbooks: dict[Text, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    dimensions: dict[Text, Values] = Field(default_factory=dict)
    requirements: dict[Text, Text] = Field(default_factory=dict)
    signals: Annotated[tuple[Signal, ...], Field(strict=False)] = ()
    events: Annotated[tuple[NamedEvent, ...], Field(strict=False)] = ()
    external_alerts: ExternalAlerts = ExternalAlerts()
    rules: Annotated[tuple[Rule, ...], Field(strict=False, max_length=RULES_MAX)] = ()
    notify: Notify | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = find_problems(self.plain())
        if problems:
            text = "\n".join(f"{path_text(p.loc)}: {p.text}" for p in problems)
            raise PydanticCustomError(PROBLEM_TYPE, "{text}", {"text": text})
        return self

    def plain(self) -> dict[str, Any]:
        """Return the contract as plain mappings and lists, keyed as in the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def topic(self, module: str) -> str:
        """Return the topic that carries a module's telemetry; KeyError for an unknown module."""
        return self.modules[module].topic or default_topic(module)

    def topics(self) -> tuple[str, ...]:
        """Return the modules' topics, each once, in the contract's order."""
        return tuple(dict.fromkeys(self.topic(module) for module in self.modules))

    def owner(self, flow: str, stage: str) -> str:
        """Return who answers for a stage, "" for nobody; KeyError when it does not exist."""
        found = self.flows[flow].stage(stage)
        return found.owner or self.modules[found.module].owner

    def playbook(self, flow: str, stage: str) -> str | None:
        """Return the playbook key of a stage, else its module's, else None."""
        found = self.flows[flow].stage(stage)
        return found.playbook or self.modules[found.module].playbook

    def objective(self, flow: str, from_stage: str = "", to_stage: str = "") -> float:
        """Return the fidelity objective of an edge, or of a flow when no stages are given."""
        for edge in self.slos.edges:
            if (edge.flow, edge.from_stage, edge.to_stage) == (flow, from_stage, to_stage):
                return edge.fidelity
        of_flow = self.flows[flow].slo if flow in self.flows else None
        return self.slos.fidelity if of_flow is None else of_flow


def default_topic(module: str) -> str:
    """Return the topic of a module that names none."""
    return f"telemetry.{module.lower()}.v1"
