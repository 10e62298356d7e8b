"""Coverage: what a contract expects to be told against what a stream tells.

Owns the rule, a function of counts. What is expected are the stages of flows, the operations of
learned rules, signals and named events, and anything at all of a module of which none is named;
what is seen are event types by module, component and name.
Nothing is judged by how much there is, only by whether: amounts are fidelity's business.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from streams.contract.model import Contract

Kind = Literal[
    "never_seen", "optional_not_seen", "without_trace", "unowned", "old_schema", "old_name",
    "not_in_contract",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = (
    "never_seen", "without_trace", "unowned", "old_schema", "old_name", "not_in_contract",
    "optional_not_seen",
)  # fmt: skip
"""In the order of reports; the last is no fault: what need not be need not be seen."""


_SDK_COMPONENT: Final = "telemetry"
"""Of `streams.sdk.reports`, which no contract names."""


class Emitted(NamedTuple):
    """What is emitted: an event type by who and what."""

    event_type: str
    module: str
    component: str
    name: str


@dataclass(slots=True)
class Tally:
    """How often something was seen.

    Attributes:
        events: all of it.
        without_trace: events without a trace id.
        last_us: newest event time, Unix microseconds.
        old_schemas: events by the schema that they were written with, where a newer one is there.
    """

    events: int = 0
    without_trace: int = 0
    last_us: int = 0
    old_schemas: dict[str, int] = field(default_factory=dict)


class Finding(NamedTuple):
    """One gap.

    Attributes:
        kind, what: of which sort it is, and what it is about.
        where: where the contract expects it.
        owner: who answers for it; "" for nobody.
        events: how often it was seen.
        detail: in words.
        last_us: newest event of it, Unix microseconds; 0 for none.
    """

    kind: Kind
    what: Emitted
    where: str
    owner: str
    events: int
    detail: str
    last_us: int = 0


class Expected(NamedTuple):
    """Something that the contract expects; `""` as component or module stands for any."""

    emitted: Emitted
    where: str
    owner: str
    is_required: bool


class Share(NamedTuple):
    """Of what the contract expects of one sort, how much was seen."""

    sort: str
    seen: int
    expected: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a stream covers of a contract: shares by sort, and every gap."""

    shares: tuple[Share, ...]
    findings: tuple[Finding, ...]

    @property
    def is_covered(self) -> bool:
        """Whether there is no gap but what may be absent."""
        return all(finding.kind == "optional_not_seen" for finding in self.findings)


def coverage(contract: Contract, seen: Mapping[Emitted, Tally]) -> Coverage:
    """Return what is covered and every gap, in the order of `KINDS`.

    Args:
        contract: what should be told.
        seen: what was told.
    """
    index = _Index(seen)
    shares = []
    findings: list[Finding] = []
    known: set[Emitted] = set()
    for sort, expected in _expectations(contract).items():
        found = [index.matching(one.emitted) for one in expected]
        for one, matches in zip(expected, found, strict=True):
            known |= matches
            if not matches:
                kind: Kind = "never_seen" if one.is_required else "optional_not_seen"
                findings.append(Finding(kind, one.emitted, one.where, one.owner, 0, ""))
        shares.append(Share(sort, sum(map(bool, found)), len(expected)))
    if silent := _only_named(contract):
        told = {one.module for one in seen}
        shares.append(Share("modules", len(silent & told), len(silent)))
        for module in silent - told:
            what, owner = Emitted("", module, "", ""), contract.modules[module].owner
            findings.append(Finding("never_seen", what, "modules", owner, 0, "told nothing"))
    for emitted, tally in sorted(seen.items()):
        findings += _of_seen(contract, emitted, tally, emitted in known)
    findings.sort(key=lambda finding: (KINDS.index(finding.kind), finding.what, finding.where))
    return Coverage(tuple(shares), tuple(findings))


def _only_named(contract: Contract) -> set[str]:
    """Return the modules of which the contract says only that there are such: anything will do."""
    named = {
        one.emitted.module.lower() for some in _expectations(contract).values() for one in some
    }
    return {module for module in contract.modules if module.lower() not in named}


class _Index:
    """Finds what was seen by type and name."""

    def __init__(self, seen: Iterable[Emitted]) -> None:
        self._by_name: dict[tuple[str, str], list[Emitted]] = {}
        for one in seen:
            self._by_name.setdefault((one.event_type, one.name), []).append(one)

    def matching(self, want: Emitted) -> set[Emitted]:
        """Return what was seen of something that is expected."""
        return {
            one
            for one in self._by_name.get((want.event_type, want.name), [])
            if want.module in ("", one.module) and want.component in ("", one.component)
        }


def _expectations(contract: Contract) -> dict[str, list[Expected]]:
    found = {
        "stages": list(_stages(contract)),
        "operations": list(_operations(contract)),
        "signals": list(_signals(contract)),
        "events": list(_events(contract)),
    }
    return {sort: expected for sort, expected in found.items() if expected}


def _stages(contract: Contract) -> Iterator[Expected]:
    for flow_id, flow in contract.flows.items():
        for stage in flow.stages:
            emitted = Emitted("TRACE", stage.module, stage.component, stage.name)
            is_required = stage.required and stage.when is None
            owner = contract.owner(flow_id, stage.id)
            yield Expected(emitted, f"flow {flow_id}, stage {stage.id}", owner, is_required)


def _operations(contract: Contract) -> Iterator[Expected]:
    """Yield what learned rules name, each once; children of "one of" groups need not be seen."""
    if contract.operations is None:
        return
    needed: dict[tuple[str, str, str], bool] = {}
    for parent in contract.operations.parents:
        needed[parent.module, parent.component, parent.name] = True
        for child in parent.children:
            needed[child.module, child.component, child.name] = True
        for group in parent.one_of:
            for member in group.members:
                needed.setdefault(member, False)
    for (module, component, name), is_required in needed.items():
        owner = contract.modules[module].owner if module in contract.modules else ""
        emitted = Emitted("TRACE", module, component, name)
        yield Expected(emitted, "operations", owner, is_required)


def _signals(contract: Contract) -> Iterator[Expected]:
    names = {name.lower(): name for name in contract.modules}
    for signal in contract.signals:
        module = names[signal.module]
        # The name says all of it: a component may be spelled otherwise in the event.
        emitted = Emitted("METRIC", module, "", signal.name)
        yield Expected(emitted, "signals", contract.modules[module].owner, True)


def _events(contract: Contract) -> Iterator[Expected]:
    """Yield the named events; they tell of what may never happen, so none is required."""
    for event in contract.events:
        for emitter in event.emitters:
            module, _, component = ("", "", "") if emitter == "*" else emitter.partition(".")
            owner = contract.modules[module].owner if module in contract.modules else ""
            emitted = Emitted(event.event_type, module, component, event.name)
            yield Expected(emitted, "events", owner, False)


def _of_seen(
    contract: Contract, emitted: Emitted, tally: Tally, is_known: bool
) -> Iterator[Finding]:
    """Yield what is wrong with something that was seen."""
    module = contract.modules.get(emitted.module)
    owner = module.owner if module else ""

    def gap(kind: Kind, events: int, detail: str) -> Finding:
        return Finding(kind, emitted, "", owner, events, detail, tally.last_us)

    new_name = contract.metric_names.get(emitted.name) if emitted.event_type == "METRIC" else None
    if new_name is not None:
        yield gap("old_name", tally.events, f"is now {new_name}")
    elif module is None:
        yield gap("not_in_contract", tally.events, "no such module")
    elif not is_known and _must_be_named(contract, emitted):
        yield gap("not_in_contract", tally.events, "nothing in the contract names it")
    # A metric point is of no trace, and a named event tells a state. Whoever else logs or audits
    # knows which record it was about.
    if tally.without_trace and emitted.event_type in ("LOG", "AUDIT") and not is_known:
        share = tally.without_trace / tally.events
        yield gap("without_trace", tally.without_trace, f"{share:.1%} of its events")
    if module is not None and not owner and not _has_owned_stage(contract, emitted):
        yield gap("unowned", tally.events, f"module {emitted.module} has no owner")
    for schema, events in sorted(tally.old_schemas.items()):
        yield gap("old_schema", events, schema)


def _must_be_named(contract: Contract, emitted: Emitted) -> bool:
    """Whether the contract means to name all of a type; log lines and audit entries are free."""
    if emitted.event_type == "TRACE":
        return bool(contract.flows) or contract.operations is not None
    return emitted.event_type == "METRIC" and bool(contract.signals) and not _is_of_sdk(emitted)


def _is_of_sdk(emitted: Emitted) -> bool:
    """Whether a metric is what the SDK says of itself: it comes wherever the SDK is used."""
    return emitted.component == _SDK_COMPONENT and emitted.name.startswith(
        f"pipeline.{emitted.module.lower()}.{_SDK_COMPONENT}."
    )


def _has_owned_stage(contract: Contract, emitted: Emitted) -> bool:
    return emitted.event_type == "TRACE" and any(
        stage.owner
        for flow in contract.flows.values()
        for stage in flow.stages
        if (stage.module, stage.name) == (emitted.module, emitted.name)
    )
