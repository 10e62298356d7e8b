"""Laws of health: slopes against a slow oracle, shares within bounds, no trouble that heals."""

from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streams.core.alerts.finding import SEVERITIES
from streams.core.health.graph import Graph, Traffic
from streams.core.health.indicators import Indicator, Series, indicators
from streams.core.health.pipeline import SILENT_US, PipelineHealth, Seen, health_of
from streams.core.health.status import STATUSES
from streams.core.health.trend import HORIZON_S, seconds_to, slope, trend_of, z_score
from streams.core.health.troubles import Trouble, as_of_now, troubles_of
from streams.core.incidents.propagation import Propagation
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.units import SECOND_US

STEP_US = 30 * SECOND_US
NOW_US = 1_760_000_000 * SECOND_US
MODULES = ("A", "B", "C", "D")

# --- trends ---------------------------------------------------------------------------------------

_tenths = st.integers(-10_000, 10_000).map(lambda n: n / 10)
_values = st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=30)


def times(values: list[int]) -> Any:
    return np.arange(len(values)) * 30.0


def oracle_slope(values: list[int]) -> float:
    return float(median((y - x) / (30.0 * (j - i)) for (i, x), (j, y) in pairs_of(values)))


def oracle_z(values: list[int]) -> float:
    """Count pairs one by one, and groups of ties by looking for them."""
    n = len(values)
    s = sum((y > x) - (y < x) for (_, x), (_, y) in pairs_of(values))
    variance = n * (n - 1) * (2 * n + 5)
    for value in set(values):
        t = values.count(value)
        variance -= t * (t - 1) * (2 * t + 5)
    if not variance:
        return 0.0
    corrected = s - 1 if s > 0 else s + 1 if s < 0 else 0
    return float(corrected / (variance / 18) ** 0.5)


def pairs_of(values: list[int]) -> list[Any]:
    return list(combinations(enumerate(values), 2))


@given(_values)
def test_slope_and_statistic_are_those_of_all_pairs(values: list[int]) -> None:
    """Against each pair looked at in turn."""
    there = np.array(values, np.float64)
    assert slope(times(values), there) == pytest.approx(oracle_slope(values))
    assert z_score(there) == pytest.approx(oracle_z(values))


@given(st.integers(-50, 50), st.integers(10, 30), st.data())
def test_a_quarter_of_wrong_points_does_not_move_a_slope(
    per_step: int, count: int, data: st.DataObject
) -> None:
    """Points on a line keep it, whatever is put in place of a quarter of them."""
    values = [per_step * n for n in range(count)]
    wrong = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 4))
    for at in wrong:
        values[at] = data.draw(st.integers(-(10**6), 10**6))
    assert slope(times(values), np.array(values, np.float64)) == pytest.approx(per_step / 30)


@given(_values, st.integers(1, 100))
def test_a_mirrored_series_has_the_mirrored_trend(values: list[int], threshold: int) -> None:
    """What rises falls when it is turned over, and what is stable stays so."""
    there = np.array(values, np.float64)
    trend, per_second = trend_of(times(values), there, threshold)
    other, mirrored = trend_of(times(values), -there, threshold)
    turned = {"STABLE": "STABLE", "INCREASING": "DECREASING", "DECREASING": "INCREASING"}
    assert (other, mirrored) == (turned[trend], -per_second)
    assert (trend == "INCREASING") == (per_second > 0)
    assert (trend == "DECREASING") == (per_second < 0)


@given(_tenths, _tenths, _tenths, st.booleans())
def test_time_to_a_threshold_is_when_the_line_meets_it(
    current: float, per_second: float, threshold: float, is_above_bad: bool
) -> None:
    """Zero beyond it, none on the way away from it, else where the line is."""
    found = seconds_to(current, per_second, threshold, is_above_bad=is_above_bad)
    is_beyond = current >= threshold if is_above_bad else current <= threshold
    assert (found == 0.0) == is_beyond
    if found is None:
        end = current + per_second * HORIZON_S
        assert end <= threshold + 1e-6 if is_above_bad else end >= threshold - 1e-6
    elif found:
        assert 0 < found <= HORIZON_S * (1 + 1e-9)
        assert current + per_second * found == pytest.approx(threshold, abs=1e-6)


# --- indicators -----------------------------------------------------------------------------------

_counts = st.lists(st.integers(0, 400), min_size=1, max_size=30)


@given(_counts, st.data())
def test_an_indicator_agrees_with_itself(counts: list[int], data: st.DataObject) -> None:
    """Bad is what has no time left; an error more never makes it better."""
    errors = [data.draw(st.integers(0, count)) for count in counts]
    durations = [data.draw(st.floats(1, 1e6)) if count else float("nan") for count in counts]

    def judged(errors: list[int]) -> dict[str, Indicator]:
        one = Series("A", "a", "", np.array(counts), np.array(errors), np.array(durations))
        return {i.indicator_type: i for i in indicators([one], STEP_US, 0.05, 20)}

    found = judged(errors)
    for one in found.values():
        is_bad = one.status in ("DEGRADED", "UNHEALTHY")
        assert is_bad == (one.time_to_threshold == 0.0)
        assert is_bad == (one.excess >= 1.0 - 1e-9)
        assert one.threshold > 0
    more = judged([min(count, n + 1) for n, count in zip(errors, counts, strict=True)])
    assert found.keys() == more.keys()
    if "ERROR_RATE_INCREASE" in found:
        order = STATUSES.index
        kind = "ERROR_RATE_INCREASE"
        assert order(more[kind].status) >= order(found[kind].status)


# --- pipelines ------------------------------------------------------------------------------------

_module = st.sampled_from(MODULES)
_part = st.sampled_from(("", "x", "y"))


@st.composite
def troubles(draw: st.DrawFn) -> Trouble:
    blamed: dict[str, float] = {}
    for name in draw(st.lists(_module, max_size=3, unique=True)):
        blamed[name] = draw(st.floats(0, 1 - sum(blamed.values())))
    severity = draw(st.sampled_from(SEVERITIES))
    incident_id = f"{draw(st.integers(0, 5)):032x}"
    return Trouble(incident_id, draw(_module), draw(_part), severity, blamed)


@st.composite
def bad_indicators(draw: st.DrawFn) -> Indicator:
    kind = draw(st.sampled_from(("ERROR_RATE_INCREASE", "THROUGHPUT_DECLINE")))
    usual, threshold = (0.0, 0.5) if kind == "ERROR_RATE_INCREASE" else (10.0, 5.0)
    current = draw(st.floats(0, 1)) if kind == "ERROR_RATE_INCREASE" else draw(st.floats(0, 12))
    is_bad = current >= threshold if usual < threshold else current <= threshold
    return Indicator(
        kind,  # type: ignore[arg-type]
        draw(_module),
        draw(_part),
        "",
        "ratio",
        current,
        usual,
        threshold,
        "STABLE",
        0.0 if is_bad else None,
        "DEGRADED" if is_bad else "HEALTHY",
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return stages that follow each other in any way, cycles too, and modules that need others."""
    stages = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    owner = {Place("f", stage): draw(_module) for stage in stages}
    between = (
        st.tuples(st.sampled_from(stages), st.sampled_from(stages)) if stages else st.nothing()
    )
    edges = [Edge("f", *pair) for pair in draw(st.lists(between, max_size=8))]
    needs = {name: ModuleInfo(depends_on=tuple(draw(st.sets(_module)))) for name in MODULES}
    traffic = []
    for edge in draw(st.lists(st.sampled_from(edges), unique=True)) if edges else []:
        expected = draw(st.integers(0, 100))
        rates = [draw(st.none() | st.floats(0, 30)) for _ in range(2)]
        traffic.append(Traffic(edge, expected, draw(st.integers(0, expected)), *rates))
    handovers = draw(st.lists(st.tuples(_module, _module), max_size=4))
    modules = needs if draw(st.booleans()) else {}
    component = st.tuples(_module, st.sampled_from(("x", "y")))
    needing = st.dictionaries(component, st.lists(component, max_size=2).map(tuple), max_size=3)
    topology = Topology(modules, tuple(edges), owner, propagation=Propagation(draw(needing)))
    return Graph(topology, tuple(traffic), tuple(handovers))


@st.composite
def pipelines(draw: st.DrawFn) -> Seen:
    heard = draw(st.dictionaries(st.tuples(_module, _part), st.integers(0, 2 * SILENT_US)))
    return Seen(
        draw(graphs()),
        tuple(draw(st.lists(troubles(), max_size=6))),
        tuple(draw(st.lists(bad_indicators(), max_size=4))),
        {at: NOW_US - ago for at, ago in heard.items()},
    )


def statuses(health: PipelineHealth) -> dict[Any, int]:
    """Return each status of an answer as its place in the order."""
    found: dict[Any, int] = {(): STATUSES.index(health.overall_status)}
    for name, module in health.module_health.items():
        found[name] = STATUSES.index(module.status)
        for part, component in module.components.items():
            found[name, part] = STATUSES.index(component.status)
    for one in health.dependency_graph:
        found["edge", one.from_module, one.to_module] = STATUSES.index(one.status)
    return found


@given(pipelines(), troubles())
def test_one_more_incident_never_makes_anything_better(seen: Seen, more: Trouble) -> None:
    """Nothing that was there gets a better status, and nothing that was there is gone."""
    before = statuses(health_of(seen, NOW_US))
    worse = Seen(seen.graph, (*seen.troubles, more), seen.indicators, seen.last_us)
    after = statuses(health_of(worse, NOW_US))
    assert all(after[key] >= rank for key, rank in before.items())
    if more.severity == "CRITICAL":
        assert after[()] == after[more.module] == STATUSES.index("UNHEALTHY")


@given(pipelines())
def test_shares_are_shares_and_the_whole_is_its_worst_part(seen: Seen) -> None:
    """Within 0 and 1; no module is better than a component that was heard."""
    health = health_of(seen, NOW_US)
    overall = STATUSES.index(health.overall_status)
    for module in health.module_health.values():
        assert 0.0 <= module.upstream_impact <= 1.0
        assert 0.0 <= module.downstream_risk <= 1.0
        assert STATUSES.index(module.status) <= overall
        for component in module.components.values():
            is_known = component.status != "UNKNOWN"
            assert not is_known or STATUSES.index(component.status) <= STATUSES.index(module.status)
    assert all(one.ratio is None or 0.0 <= one.ratio <= 1.0 for one in health.dependency_graph)


@given(pipelines())
def test_what_was_not_heard_is_not_called_healthy(seen: Seen) -> None:
    """A module is healthy only when it said something within the last two minutes."""
    for name, module in health_of(seen, NOW_US).module_health.items():
        ages = [NOW_US - us for (m, _), us in seen.last_us.items() if m == name]
        if module.status == "HEALTHY":
            assert min(ages) < SILENT_US


@given(pipelines())
def test_a_cascade_comes_from_upstream_by_a_way_that_there_is(seen: Seen) -> None:
    """Its module is in trouble, and each step of its path is a dependency."""
    health = health_of(seen, NOW_US)
    steps = {(one.from_module, one.to_module) for one in health.dependency_graph}
    for one in health.cascades:
        assert health.module_health[one.module].status in ("DEGRADED", "UNHEALTHY")
        assert seen.graph.may_hurt(one.from_module, one.module)
        assert (one.path[0], one.path[-1]) == (one.from_module, one.module)
        assert set(zip(one.path, one.path[1:], strict=False)) <= steps


# --- incidents ------------------------------------------------------------------------------------

_severity = st.sampled_from(SEVERITIES)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return the states of one alert in their order: episodes that grow, and end before the next.

    The time of a later episode's begin is later than the end of the one before, as of the alert
    book; severities become worse within one.
    """
    told: list[dict[str, Any]] = []
    at_us = 1
    for _ in range(draw(st.integers(1, 3))):
        since_us = at_us = at_us + draw(st.integers(1, 50))
        severities = sorted(draw(st.lists(_severity, min_size=1, max_size=3)), key=SEVERITIES.index)
        for severity in severities:
            at_us += draw(st.integers(0, 20))
            told.append(_state("FIRING", severity, since_us, at_us))
        at_us += draw(st.integers(0, 20))  # what lasted on without being told
        told.append(_state("RESOLVED", severities[-1], since_us, at_us))
    return told[: draw(st.integers(1, len(told)))]


def _state(state: str, severity: str, since_us: int, last_us: int) -> dict[str, Any]:
    return {
        "state": state, "severity": severity, "firing_since": since_us, "last_seen": last_us,
    }  # fmt: skip


@given(histories(), st.data())
def test_the_last_that_an_alert_said_counts_by_whichever_way_it_came(
    said: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Against the states in their order, of which the reader of two topics has seen some each."""
    in_event, in_topic = (data.draw(st.integers(0, len(said) - 1)) for _ in range(2))
    told = {"fingerprint": "a"} | said[in_event]
    (found,) = as_of_now([told], {"a": said[in_topic]})
    newest = said[max(in_event, in_topic)]
    if in_topic >= in_event:
        assert found == {"fingerprint": "a"} | newest
    elif newest["state"] == "FIRING":
        assert found["state"] == "FIRING", "what is heard late hides no trouble"
    assert as_of_now([told], {}) == [told]


@given(st.lists(histories(), min_size=2, max_size=2))
def test_an_alert_fires_when_its_last_word_is_that_it_does(said: list[Any]) -> None:
    """Whatever its incident told before, and whatever the times of the two are."""
    (event, *_), (*_, last) = said
    (found,) = as_of_now([{"fingerprint": "a"} | event], {"a": last | {"state": "FIRING"}})
    assert found["state"] == "FIRING"


@st.composite
def incidents(draw: st.DrawFn) -> dict[str, Any]:
    """Return the last event of an incident whose alerts lie anywhere and explain each other."""
    names = [f"{n}" for n in range(draw(st.integers(1, 5)))]
    alerts = []
    for name in names:
        of_place = {"module": draw(_module), "component": draw(_part), "kind": "error_spans"}
        state = _state(draw(st.sampled_from(("FIRING", "RESOLVED"))), draw(_severity), 5, 9)
        caused_by = draw(st.sampled_from(("", *names)))
        alerts.append({"fingerprint": name, "caused_by": caused_by} | of_place | state)
    firing = sum(one["state"] == "FIRING" for one in alerts)
    lead = {key: alerts[0][key] for key in ("module", "component")}
    return {
        "incident_id": "c" * 32,
        "severity": draw(_severity),
        "causes": [],
        "alerts": alerts,
        "alerts_firing": firing + draw(st.sampled_from((0, 0, 3))),
    } | lead


@given(pipelines(), incidents(), st.data())
def test_the_end_of_an_alert_never_makes_anything_worse(
    seen: Seen, incident: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever else is known, and whichever alerts were over before; and some end is enough."""

    def shown(over: set[str]) -> dict[Any, int]:
        last = {
            one["fingerprint"]: one | {"state": "RESOLVED"}
            for one in incident["alerts"]
            if one["fingerprint"] in over
        }
        found = (*seen.troubles, *troubles_of([incident], last))
        now = Seen(seen.graph, found, seen.indicators, seen.last_us)
        return statuses(health_of(now, NOW_US))

    names = [one["fingerprint"] for one in incident["alerts"]]
    over = data.draw(st.sets(st.sampled_from(names)))
    before, after = shown(over), shown(over | {data.draw(st.sampled_from(names))})
    assert all(after.get(key, 0) <= rank for key, rank in before.items())
    if incident["alerts_firing"] <= sum(a["state"] == "FIRING" for a in incident["alerts"]):
        without = statuses(health_of(seen, NOW_US))
        known = shown(set(names))
        assert known == without, "all of it is over: it is as if it were not there"


# --- graphs ---------------------------------------------------------------------------------------


def oracle_upstream(graph: Graph, name: str) -> set[str]:
    """Walk backwards until nothing new is found: stages, hand-overs, then needs."""
    place_of = graph.topology.stage_module
    stages = {p for p, module in place_of.items() if module == name}
    before: set[Place] = set()
    for _ in range(10):
        ends = stages | before
        before |= {
            Place(e.flow, e.from_stage)
            for e in graph.topology.edges
            if Place(e.flow, e.to_stage) in ends
        }
    found = {place_of[p] for p in before}
    handed = {name}
    for _ in range(10):
        handed |= {near for near, far in graph.handovers if far in handed}
    found |= handed
    for _ in range(10):
        for one in list(found):
            info = graph.topology.modules.get(one)
            found |= set(info.depends_on) if info else set()
    return found - {name}


@given(graphs())
def test_upstream_is_what_a_walk_backwards_meets(graph: Graph) -> None:
    """Against a walk that goes on for as many steps as there could be."""
    for name in graph.modules:
        assert graph.upstream(name) == oracle_upstream(graph, name)


@given(graphs())
def test_trouble_travels_by_dependencies_and_by_no_other_way(graph: Graph) -> None:
    """May hurt is what a walk over the dependencies meets, and a path leads along each."""
    steps = {(one.from_module, one.to_module) for one in graph.dependencies}
    for name in graph.modules:
        met = {name}
        for _ in graph.modules:
            met |= {near for near, far in steps if far in met}
        for other in set(graph.modules) - {name}:
            assert graph.may_hurt(other, name) == (other in met)
            assert bool(graph.path(other, name)) == (other in met)
        assert graph.upstream(name) <= met


@given(graphs(), _module)
def test_the_risk_grows_with_what_hangs_on_a_module(graph: Graph, name: str) -> None:
    """One more module that needs it never makes it matter less."""
    assume(graph.topology.modules)
    before = {other: graph.risk_ratio(other) for other in graph.modules}
    modules = dict(graph.topology.modules)
    modules[name] = ModuleInfo(depends_on=(*modules[name].depends_on, "A"))
    topology = Topology(modules, graph.topology.edges, graph.topology.stage_module)
    after = Graph(topology, graph.traffic, graph.handovers)
    assert all(after.risk_ratio(other) >= before[other] - 1e-12 for other in graph.modules)
