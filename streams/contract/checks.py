"""What ties the parts of a contract together, checked over the plain tree of the file.

Works on mappings and lists as they were written, not on the model, so that a typo in one stage does
not hide an unknown stage in another: what has the wrong type is skipped here and reported by the
model. Invariant: no check raises, whatever the tree holds.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from streams.contract.graph import find_cycle, upstream
from streams.contract.lenient import items, mapping, mappings, texts
from streams.contract.notify_checks import notify_problems
from streams.contract.signals import signal_problems
from streams.core.privacy.treatments import DIMENSION, PUBLIC, class_fault, treatment_fault

RESERVED_MODULES: Final = frozenset({"REJECTED", "OTHER"})
DERIVED_TOPICS: Final = frozenset(
    {
        "telemetry.rejected.v1",
        "traces.assembled.v1",
        "traces.fragments.v1",
        "fidelity.partials.v1",
        "fidelity.stats.v1",
        "alerts.raised.v1",
        "incidents.events.v1",
        "incidents.commands.v1",
        "incidents.audit.v1",
        "incidents.ledger.v1",
        "spanloom.links.v1",
        "spanloom.rekeyed.v1",
        "signals.partials.v1",
        "alerts.external.v1",
    }
)
STAGES_MAX: Final = 1000
"""Stages of one flow; the graph checks skip a flow that has more (the model refuses it)."""
PROBLEMS_MAX: Final = 200
"""Problems looked for: suggestions compare names, so a hostile file must not ask for millions."""
WAIT_MS_DEFAULT: Final = 30_000
OBJECTIVE_DEFAULTS: Final[Mapping[str, float]] = {
    "short_s": 300.0,
    "long_s": 3600.0,
    "burn_rate": 14.4,
    "burn_rate_slow": 6.0,
}
"""What the model fills in where the file is silent; the checks must compare with the same."""
NAMES_COMPARED_MAX: Final = 1000
"""Known names that a wrong one is compared with."""
NAMES_SHOWN_MAX: Final = 8
"""Names listed when none is near enough to suggest."""

Loc = tuple[str | int, ...]
_METRIC_NAME: Final = re.compile(
    r"pipeline\.(?P<module>[a-z0-9_-]+)\.[a-z0-9_-]+\.(?:counter|histogram|gauge)\.[a-z0-9_]+"
)
_TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Problem(NamedTuple):
    """One thing that is wrong: the keys that lead to it, and a sentence with the fix."""

    loc: Loc
    text: str


def path_text(loc: Loc) -> str:
    """Write a location as `flows.record.stages[3].after`; "contract" for the whole."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in loc)
    return text.removeprefix(".") or "contract"


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return the end of a message: the nearest known name, else which names are known."""
    names = list(dict.fromkeys(islice(known, NAMES_COMPARED_MAX)))
    close = difflib.get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if not names:
        return "none is declared"
    shown = sorted(names)[:NAMES_SHOWN_MAX]
    return f"known: {', '.join(shown)}{', ...' if len(names) > len(shown) else ''}"


def find_problems(tree: Any) -> list[Problem]:
    """Return the problems between the parts of a contract, at most the first `PROBLEMS_MAX`.

    The keys of all mappings in `tree` are text, as YAML and JSON give them.
    """
    return list(islice(_problems(mapping(tree)), PROBLEMS_MAX))


def _problems(root: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _modules(root)
    yield from _services(root)
    for flow_id, flow in mapping(root.get("flows")).items():
        stages = _stages(flow)
        if len(stages) <= STAGES_MAX:
            yield from _flow(root, ("flows", flow_id), mapping(flow), stages)
    yield from _across_flows(root)
    yield from _objectives(root)
    yield from _personal(root)
    yield from _metric_names(root)
    for loc, text in signal_problems(root):
        yield Problem(loc, text)
    yield from _rules(root)
    for found in notify_problems(root.get("notify"), ("notify",)):
        yield Problem(found.loc, found.text)
    yield from _external_alerts(root)


def _modules(root: Mapping[str, Any]) -> Iterator[Problem]:
    modules = mapping(root.get("modules"))
    by_default_topic: dict[str, str] = {}
    for name, module in modules.items():
        loc: Loc = ("modules", name)
        parts = mapping(module)
        if name.upper() in RESERVED_MODULES:
            yield Problem(loc, f"'{name}' is a reserved module name; give the module another")
        topic = parts.get("topic")
        if topic is None:
            topic = f"telemetry.{name.lower()}.v1"
            twin = by_default_topic.setdefault(topic, name)
            if twin != name:
                yield Problem(loc, f"shares topic {topic} with '{twin}'; spell both names alike")
        if isinstance(topic, str):
            if not _TOPIC_NAME.fullmatch(topic):
                fix = "set topic to letters, digits, '.', '_' and '-' only"
                yield Problem(loc, f"'{topic}' is no topic name that Kafka allows; {fix}")
            elif topic in DERIVED_TOPICS and name.upper() not in RESERVED_MODULES:
                yield Problem(loc, f"topic {topic} belongs to Spanloom; set topic to another")
        for needed in texts(parts.get("depends_on")):
            where: Loc = (*loc, "depends_on")
            if needed == name:
                yield Problem(where, f"'{name}' depends on itself; remove it")
            elif needed not in modules:
                yield Problem(
                    where, f"unknown module '{needed}'; {suggestion(needed, _nameable(modules))}"
                )
        yield from _components(loc, parts, modules)
        yield from _playbook(root, loc, parts)


def _services(root: Mapping[str, Any]) -> Iterator[Problem]:
    modules = mapping(root.get("modules"))
    for name, service in mapping(root.get("services")).items():
        module = mapping(service).get("module")
        if isinstance(module, str) and module not in modules:
            text = f"unknown module '{module}'; {suggestion(module, _nameable(modules))}"
            yield Problem(("services", name, "module"), text)


def _components(
    loc: Loc, module: Mapping[str, Any], modules: Mapping[str, Any]
) -> Iterator[Problem]:
    for name, component in mapping(module.get("components")).items():
        for needed in texts(mapping(component).get("needs")):
            where: Loc = (*loc, "components", name, "needs")
            wanted, dot, part = needed.partition(".")
            if not dot or not part:
                yield Problem(where, f"'{needed}' is no component; write MODULE.component")
            elif wanted not in modules:
                fix = suggestion(wanted, _nameable(modules))
                yield Problem(where, f"unknown module '{wanted}' in '{needed}'; {fix}")
            elif (wanted, part) == (loc[-1], name):
                yield Problem(where, f"'{needed}' needs itself; remove it")


def _flow(
    root: Mapping[str, Any],
    loc: Loc,
    flow: Mapping[str, Any],
    stages: list[tuple[int, Mapping[str, Any]]],
) -> Iterator[Problem]:
    ids = [stage["id"] for _, stage in stages if isinstance(stage.get("id"), str)]
    after = {
        stage["id"]: texts(stage.get("after"))
        for _, stage in stages
        if "id" in stage and isinstance(stage["id"], str)
    }
    for stage_id, count in Counter(ids).items():
        if count > 1:
            where = [i for i, stage in stages if stage.get("id") == stage_id][1]
            yield Problem(
                (*loc, "stages", where, "id"), f"stage '{stage_id}' is there twice; rename one"
            )
    entry = flow.get("entry")
    if isinstance(entry, str) and after and entry not in after:
        text = f"unknown stage '{entry}'; {suggestion(entry, after)}"
        yield Problem((*loc, "entry"), text)
    for index, stage in stages:
        at: Loc = (*loc, "stages", index)
        yield from _stage(root, at, stage, after)
        yield from _order(at, stage, entry if entry in after else None, after)
        yield from _deadline(at, stage, flow.get("wait_ms", WAIT_MS_DEFAULT))
    cycle = find_cycle(after)
    if cycle:
        text = f"stages wait for each other: {' -> '.join(cycle)}; drop one of these `after`"
        yield Problem((*loc, "stages"), text)
    yield from _operations(loc, stages)


def _stage(
    root: Mapping[str, Any], at: Loc, stage: Mapping[str, Any], after: Mapping[str, list[str]]
) -> Iterator[Problem]:
    modules = mapping(root.get("modules"))
    module = stage.get("module")
    if isinstance(module, str) and module not in modules:
        text = f"unknown module '{module}'; {suggestion(module, _nameable(modules))}"
        yield Problem((*at, "module"), text)
    predecessors = texts(stage.get("after"))
    for predecessor in dict.fromkeys(predecessors):
        if predecessor == stage.get("id"):
            yield Problem((*at, "after"), f"'{predecessor}' comes after itself; remove it")
        elif predecessor not in after:
            text = f"unknown stage '{predecessor}'; {suggestion(predecessor, after)}"
            yield Problem((*at, "after"), text)
        if predecessors.count(predecessor) > 1:
            yield Problem((*at, "after"), f"'{predecessor}' is there twice; remove one")
    yield from _condition(at, stage, after)
    if stage.get("required") is False:
        if "when" in stage and stage["when"] is not None:
            text = "`when` says when the stage is required; remove `required: false`"
            yield Problem((*at, "required"), text)
        count = stage.get("min_count", 1)
        if isinstance(count, int) and count > 1:
            text = "an optional stage needs no spans; remove it or `required: false`"
            yield Problem((*at, "min_count"), text)
    yield from _playbook(root, at, stage)


def _condition(
    at: Loc, stage: Mapping[str, Any], after: Mapping[str, list[str]]
) -> Iterator[Problem]:
    source = mapping(stage.get("when")).get("stage")
    own_id = stage.get("id")
    if not isinstance(source, str) or not isinstance(own_id, str):
        return
    where: Loc = (*at, "when", "stage")
    before = upstream(after, own_id) - {own_id}
    if source not in after:
        yield Problem(where, f"unknown stage '{source}'; {suggestion(source, after)}")
    elif source not in before:
        text = f"'{source}' is not upstream of '{own_id}'; {suggestion(source, before)}"
        yield Problem(where, text)


def _order(
    at: Loc, stage: Mapping[str, Any], entry: Any, after: Mapping[str, list[str]]
) -> Iterator[Problem]:
    own_id = stage.get("id")
    if entry is None or not isinstance(own_id, str):
        return
    predecessors = after[own_id]
    if own_id == entry:
        if predecessors:
            text = "the entry starts the flow; remove its `after` or name another entry"
            yield Problem((*at, "after"), text)
        for key, is_wrong in (
            ("required", stage.get("required") is False),
            ("when", "when" in stage),
        ):
            if is_wrong and stage[key] is not None:
                yield Problem((*at, key), f"the entry is always required; remove `{key}`")
    elif not predecessors and isinstance(stage.get("after", []), list):
        text = f"only the entry '{entry}' may come after nothing; add `after`"
        yield Problem((*at, "after"), text)


def _deadline(at: Loc, stage: Mapping[str, Any], wait_ms: Any) -> Iterator[Problem]:
    deadline_ms = stage.get("deadline_ms")
    if isinstance(deadline_ms, int) and isinstance(wait_ms, int) and deadline_ms > wait_ms:
        text = f"{deadline_ms} ms is longer than the flow's wait_ms {wait_ms}; lower it"
        yield Problem((*at, "deadline_ms"), text)


def _operations(loc: Loc, stages: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Problem]:
    first: dict[tuple[str, str, str], str] = {}
    for index, stage in stages:
        operation = _operation(stage)
        if operation is None:
            continue
        twin = first.setdefault(operation, str(stage.get("id")))
        if twin != str(stage.get("id")):
            text = f"same module, component and name as '{twin}'; one span cannot be two stages"
            yield Problem((*loc, "stages", index, "name"), f"{text}: change one name")


def _across_flows(root: Mapping[str, Any]) -> Iterator[Problem]:
    entry_of: dict[tuple[str, str, str], str] = {}
    component_of: dict[tuple[str, str], tuple[str, str]] = {}
    for flow_id, flow in mapping(root.get("flows")).items():
        for index, stage in _stages(flow)[:STAGES_MAX]:
            operation = _operation(stage)
            if operation is None:
                continue
            at: Loc = ("flows", flow_id, "stages", index)
            module, component, name = operation
            if stage.get("id") == mapping(flow).get("entry"):
                twin = entry_of.setdefault(operation, flow_id)
                if twin != flow_id:
                    text = f"the entry span of flow '{twin}' too; a trace could be either"
                    yield Problem((*at, "name"), f"{text}: change one name")
            # A span with a component would count for the named one only, never for "any".
            seen, where = component_of.setdefault(
                (module, name), (component, f"{flow_id}.{stage.get('id')}")
            )
            if seen != component and "" in (seen, component):
                text = f"'{where}' has component '{seen}' for the same module and name"
                yield Problem((*at, "component"), f"{text}; give both the same kind")


def _objectives(root: Mapping[str, Any]) -> Iterator[Problem]:
    slos = mapping(root.get("slos"))
    for low, high in (("short_s", "long_s"), ("burn_rate_slow", "burn_rate")):
        below, above = (slos.get(key, OBJECTIVE_DEFAULTS[key]) for key in (low, high))
        if isinstance(below, int | float) and isinstance(above, int | float) and below >= above:
            text = f"{below} is not below {high} {above}; lower it or raise {high}"
            yield Problem(("slos", low if low in slos else high), f"{low} {text}")
    flows = mapping(root.get("flows"))
    edges_of: dict[str, set[str]] = {}
    edges = slos.get("edges")
    for index, edge in enumerate(items(edges)):
        parts = mapping(edge)
        at: Loc = ("slos", "edges", index)
        flow_id, near, far = (parts.get(key) for key in ("flow", "from_stage", "to_stage"))
        if not (isinstance(flow_id, str) and isinstance(near, str) and isinstance(far, str)):
            continue
        if flow_id not in flows:
            text = f"unknown flow '{flow_id}'; {suggestion(flow_id, flows)}"
            yield Problem((*at, "flow"), text)
            continue
        if flow_id not in edges_of:
            edges_of[flow_id] = {
                f"{before} -> {stage.get('id')}"
                for _, stage in _stages(flows[flow_id])
                for before in texts(stage.get("after"))
            }
        known = edges_of[flow_id]
        if f"{near} -> {far}" not in known:
            text = f"flow '{flow_id}' has no edge {near} -> {far}"
            yield Problem(at, f"{text}; {suggestion(f'{near} -> {far}', sorted(known))}")


def _metric_names(root: Mapping[str, Any]) -> Iterator[Problem]:
    names = mapping(root.get("metric_names"))
    modules = {name.lower() for name in mapping(root.get("modules"))}
    for old, new in names.items():
        if not isinstance(new, str):
            continue
        found = _METRIC_NAME.fullmatch(new)
        at: Loc = ("metric_names", old)
        if found is None:
            text = "must read pipeline.<module>.<component>.<counter|histogram|gauge>.<metric_name>"
            yield Problem(at, f"'{new}' {text}, lower case")
        elif found["module"] not in modules:
            text = f"unknown module '{found['module']}' in '{new}'"
            yield Problem(at, f"{text}; {suggestion(found['module'], modules)}")
        if new in names:
            yield Problem(at, f"'{new}' is itself an old name; map '{old}' to the last one")


def _rules(root: Mapping[str, Any]) -> Iterator[Problem]:
    rules = root.get("rules")
    modules = mapping(root.get("modules"))
    seen: set[str] = set()
    for index, rule in enumerate(items(rules)):
        parts = mapping(rule)
        at: Loc = ("rules", index)
        own_id = parts.get("id")
        if isinstance(own_id, str):
            if own_id in seen:
                yield Problem((*at, "id"), f"rule '{own_id}' is there twice; rename one")
            seen.add(own_id)
        module = mapping(parts.get("match")).get("module")
        is_name = isinstance(module, str) and not set("*?[") & set(module)
        if is_name and module not in modules and module != "OTHER":
            text = f"unknown module '{module}'; {suggestion(str(module), _nameable(modules))}"
            yield Problem((*at, "match", "module"), text)
        yield from _playbook(root, at, parts)


def _personal(root: Mapping[str, Any]) -> Iterator[Problem]:
    classes = mapping(root.get("field_classes"))
    for name, class_ in classes.items():
        if fault := class_fault(name, class_):
            yield Problem(("field_classes", name), fault)
    for name, treatment in mapping(root.get("field_treatments")).items():
        if fault := treatment_fault(name, treatment, classes):
            yield Problem(("field_treatments", name), fault)
    for at, key in _asked_dimensions(root):
        if classes.get(DIMENSION + key, PUBLIC) != PUBLIC:
            text = (
                f"'{key}' is personal by field_classes, and its plain values are not there to see"
            )
            yield Problem(at, text)


def _asked_dimensions(root: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Yield the dimensions whose values decide something, and where they are asked for."""
    for flow_id, flow in mapping(root.get("flows")).items():
        for i, stage in _stages(flow):
            key = mapping(stage.get("when")).get("dimension")
            if isinstance(key, str):
                yield ("flows", flow_id, "stages", i, "when", "dimension"), key
    rules = root.get("rules")
    for i, rule in enumerate(rules if isinstance(rules, list) else ()):
        for key in mapping(mapping(mapping(rule).get("match")).get("dimensions")):
            yield ("rules", i, "match", "dimensions", key), key


def _external_alerts(root: Mapping[str, Any]) -> Iterator[Problem]:
    modules = mapping(root.get("modules"))
    named = mapping(mapping(root.get("external_alerts")).get("modules"))
    for value, module in named.items():
        if isinstance(module, str) and module not in modules:
            text = f"unknown module '{module}'; {suggestion(module, _nameable(modules))}"
            yield Problem(("external_alerts", "modules", value), text)


def _playbook(root: Mapping[str, Any], at: Loc, part: Mapping[str, Any]) -> Iterator[Problem]:
    key = part.get("playbook")
    known = mapping(root.get("playbooks"))
    if isinstance(key, str) and key not in known:
        text = f"unknown playbook '{key}'; {suggestion(key, known)}"
        yield Problem((*at, "playbook"), text)


def _nameable(modules: Iterable[str]) -> Iterator[str]:
    return (name for name in modules if name.upper() not in RESERVED_MODULES)


def _operation(stage: Mapping[str, Any]) -> tuple[str, str, str] | None:
    module, component, name = stage.get("module"), stage.get("component", ""), stage.get("name")
    if isinstance(module, str) and isinstance(component, str) and isinstance(name, str):
        return module, component, name
    return None


def _stages(flow: Any) -> list[tuple[int, Mapping[str, Any]]]:
    return mappings(mapping(flow).get("stages"))
