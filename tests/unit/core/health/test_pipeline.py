"""Whose trouble it is, worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from streams.core.health.graph import Graph, Traffic
from streams.core.health.pipeline import PipelineHealth, Seen, health_of
from streams.core.health.troubles import Trouble, troubles_of
from streams.core.incidents.propagation import Propagation
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology

NOW_US = 1_760_000_000_000_000
EDGES = (Edge("f", "a", "i1"), Edge("f", "i1", "b"), Edge("f", "b", "i2"), Edge("f", "i2", "c"))
STAGES = {"a": "A", "i1": "I", "b": "B", "i2": "I", "c": "C"}
TOPOLOGY = Topology(
    {"A": ModuleInfo(), "I": ModuleInfo(), "B": ModuleInfo(depends_on=("K",)),
     "C": ModuleInfo(), "K": ModuleInfo()},
    EDGES,
    {Place("f", stage): module for stage, module in STAGES.items()},
)  # fmt: skip
HEARD = dict.fromkeys([(module, "") for module in "AIBCK"], NOW_US)


def health(*troubles: Trouble, traffic: tuple[Traffic, ...] = ()) -> PipelineHealth:
    return health_of(Seen(Graph(TOPOLOGY, traffic), troubles, (), HEARD), NOW_US)


def trouble(module: str, severity: str, **blamed: float) -> Trouble:
    return Trouble("c" * 32, module, "", severity, blamed)


def test_a_layer_between_all_is_before_and_behind_each() -> None:
    """The cache that B needs is upstream of B and of what is behind B; A has nothing before it."""
    graph = Graph(TOPOLOGY)
    assert graph.upstream("A") == set()
    assert graph.upstream("B") == {"A", "I", "K"}
    assert graph.upstream("C") == {"A", "I", "B", "K"}
    assert graph.upstream("I") == {"A", "B", "K"}
    assert graph.is_above("A", "I")
    assert not graph.is_above("I", "B")
    assert graph.path("K", "C") == ("K", "B", "I", "C")


def test_risk_is_the_share_of_what_others_do() -> None:
    """Stages count alike without traffic, and as often as records come with it."""
    graph = Graph(TOPOLOGY)
    assert graph.risk_ratio("A") == 1.0
    assert graph.risk_ratio("B") == pytest.approx(2 / 4)  # i2 and c of a, i1, i2, c
    assert graph.risk_ratio("K") == pytest.approx(3 / 5)  # b, which needs it, i2 and c
    assert graph.risk_ratio("C") == 0.0
    counts = (100, 90, 40, 10)
    carried = tuple(Traffic(e, n, n) for e, n in zip(EDGES, counts, strict=True))
    assert Graph(TOPOLOGY, carried).risk_ratio("B") == pytest.approx(50 / 250)


def test_the_impact_is_weighted_by_severity() -> None:
    """CRITICAL counts three times WARN; only what lies upstream counts at all."""
    found = health(
        trouble("C", "CRITICAL", B=0.5, K=0.25),
        trouble("C", "WARN", C=1.0),
        trouble("B", "ERROR", C=1.0),
    ).module_health
    assert found["C"].upstream_impact == pytest.approx(3 * 0.75 / 4)
    assert found["B"].upstream_impact == 0.0, "C is behind it"
    assert found["A"].upstream_impact == 0.0, "it has no trouble"


def test_what_a_component_needs_may_hurt_it_against_the_way_of_records() -> None:
    """A's buffer needs the layer behind it: what piles up there is the layer's, not its own."""
    needs = Propagation({("A", "buffer"): (("I", "pressure"),)})
    graph = Graph(replace(TOPOLOGY, propagation=needs))
    assert graph.upstream("A") == set(), "records come from nowhere else"
    assert graph.may_hurt("I", "A")
    assert not graph.is_above("A", "I"), "as far astray as A is, it explains nothing in I"
    assert graph.risk_ratio("I") == Graph(TOPOLOGY).risk_ratio("I"), "not all of A hangs on it"
    seen = Seen(graph, (trouble("A", "CRITICAL", I=1.0),), (), HEARD)
    (cascade,) = health_of(seen, NOW_US).cascades
    assert (cascade.module, cascade.from_module, cascade.path) == ("A", "I", ("I", "A"))
    assert health(trouble("A", "CRITICAL", I=1.0)).cascades == (), "nothing says that it may"


def test_a_cascade_names_where_most_comes_from() -> None:
    """More than half from upstream, most of it from the cache, by way of B."""
    (cascade,) = health(trouble("C", "ERROR", K=0.4, B=0.3)).cascades
    assert (cascade.module, cascade.from_module) == ("C", "K")
    assert cascade.path == ("K", "B", "I", "C")
    assert health(trouble("C", "ERROR", K=0.2, B=0.2)).cascades == ()


@pytest.mark.parametrize(
    ("short", "long", "status"),
    [
        (0.5, 0.5, "HEALTHY"), (20.0, 1.0, "HEALTHY"), (7.0, 6.0, "DEGRADED"),
        (20.0, 15.0, "UNHEALTHY"), (None, 15.0, "UNKNOWN"),
    ],
)  # fmt: skip
def test_an_edge_is_bad_when_both_of_its_windows_burn(
    short: float | None, long: float | None, status: str
) -> None:
    """As the alerts have it; and the whole is no better than what is known of the edge."""
    found = health(traffic=(Traffic(EDGES[0], 100, 99, short, long),))
    edge = next(one for one in found.dependency_graph if one.to_module == "I")
    assert (edge.status, edge.ratio) == (status, 0.99)
    assert found.overall_status == ("HEALTHY" if status == "UNKNOWN" else status)


def test_an_incident_of_no_module_is_everybodys() -> None:
    """It hurts the whole, and no module."""
    found = health(trouble("", "CRITICAL"))
    assert found.overall_status == "UNHEALTHY"
    assert {one.status for one in found.module_health.values()} == {"HEALTHY"}


def _alert(name: str, module: str, caused_by: str = "", **fields: Any) -> dict[str, Any]:
    about = {"component": "", "state": "FIRING", "severity": "ERROR", "kind": "error_spans"}
    return {"fingerprint": name, "module": module, "caused_by": caused_by} | about | fields


def test_an_alert_blames_what_explains_it_and_else_the_ranking() -> None:
    """Chains are followed to their first, loops end, what is over is left out."""
    causes = [
        {"module": "A", "kind": "metric", "probability": 0.6},
        {"module": "", "kind": "UNKNOWN", "probability": 0.3},
        {"module": "A", "kind": "alert", "probability": 0.1},
    ]
    alerts = [
        _alert("1", "A"), _alert("2", "B", "1"), _alert("3", "C", "2"),
        _alert("4", "C", state="OVER"), _alert("5", "K", "6"), _alert("6", "I", "5", severity=""),
    ]  # fmt: skip
    incident = {
        "incident_id": "c" * 32, "module": "A", "component": "", "severity": "CRITICAL",
        "causes": causes, "alerts": alerts, "alerts_firing": 5,
    }  # fmt: skip
    found = [(one.module, one.severity, one.blamed) for one in troubles_of([incident])]
    ranked = {"A": pytest.approx(0.7)}
    assert found == [
        ("A", "CRITICAL", ranked), ("A", "ERROR", ranked), ("B", "ERROR", {"A": 1.0}),
        ("C", "ERROR", {"A": 1.0}), ("K", "ERROR", {"I": 1.0}), ("I", "CRITICAL", {"K": 1.0}),
    ]  # fmt: skip
