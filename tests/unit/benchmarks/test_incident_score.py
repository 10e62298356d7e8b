"""What belongs to which fault: claims, misses, false, over-merged and split incidents."""

from typing import Any

from benchmarks.incidents.score import Told, places_of, rank_of, ranked_causes, score
from streams.simulate.blame import Blame
from streams.simulate.layout import read_layout
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import SEED_CONTRACT

LAYOUT = read_layout(SEED_CONTRACT)
PARSER = Blame(
    frozenset({("ALPHA", "parser")}),
    {("ALPHA", "parser"): 100 * SECOND_US, ("BETA", "mapping"): 101 * SECOND_US},
    100 * SECOND_US,
    110 * SECOND_US,
)
DELIVERY = Blame(
    frozenset({("GAMMA", "delivery")}),
    {("GAMMA", "delivery"): 100 * SECOND_US, ("BETA", "mapping"): 101 * SECOND_US},
    100 * SECOND_US,
    110 * SECOND_US,
)


def alert(module: str, component: str = "", second: float = 101, **more: Any) -> dict[str, Any]:
    place = {"module": module, "component": component, "from_stage": "", "to_stage": ""}
    return place | {"firing_since": int(second * SECOND_US)} | more


def told(name: str, *alerts: dict[str, Any], ranked: tuple[str, ...] = ()) -> Told:
    return Told({"incident_id": name, "alerts": list(alerts)}, 103 * SECOND_US, 2, ranked)


def test_an_edge_stands_at_both_of_its_ends() -> None:
    """The alert of an edge is at the components of its near and its far stage."""
    edge = alert("BETA", from_stage="transfer_alpha_beta", to_stage="schema_mapping")
    assert places_of(LAYOUT, edge) == {("INTEGRATION", "transfer"), ("BETA", "mapping")}


def test_one_incident_a_fault_is_right() -> None:
    """Two faults in two incidents: nothing is missed, false, merged or split."""
    judged = score(LAYOUT, [PARSER, DELIVERY], [
        told("a", alert("ALPHA", "parser"), alert("BETA", "mapping")),
        told("b", alert("GAMMA", "delivery")),
    ])  # fmt: skip
    ids = [[i.incident["incident_id"] for i in of] for of in judged.incidents]
    assert ids == [["a"], ["b", "a"]], "first the one that is most the fault's own"
    assert (judged.false, judged.over_merged, judged.split) == ((), (), 0)


def test_two_faults_in_one_incident_are_over_merged() -> None:
    """Only alerts that one fault alone can have caused tell that two were thrown together."""
    merged = told("a", alert("ALPHA", "parser"), alert("GAMMA", "delivery"))
    shared = told("b", alert("ALPHA", "parser"), alert("BETA", "mapping"))
    assert score(LAYOUT, [PARSER, DELIVERY], [merged]).over_merged == (merged,)
    assert score(LAYOUT, [PARSER, DELIVERY], [shared]).over_merged == ()


def test_a_fault_in_two_incidents_is_split() -> None:
    """Each incident beyond the first counts, when the fault alone can have caused it."""
    judged = score(LAYOUT, [PARSER], [told(n, alert("ALPHA", "parser")) for n in "abc"])
    assert judged.split == 2


def test_place_and_time_make_an_incident_false() -> None:
    """An alert elsewhere, or before or long after the fault, belongs to no fault."""
    elsewhere = told("a", alert("PHI", "scheduler"))
    early = told("b", alert("ALPHA", "parser", second=97))
    late = told("c", alert("ALPHA", "parser", second=123))
    judged = score(LAYOUT, [PARSER], [elsewhere, early, late])
    assert judged.false == (elsewhere, early, late)
    assert judged.incidents == ((),)


def test_a_module_alone_is_no_answer_for_a_component() -> None:
    """Naming the module is right only where the whole module is to blame."""
    silent = Blame(PARSER.causes, PARSER.reached, 0, 1, is_module=True)
    assert rank_of(PARSER, ["ALPHA", "ALPHA.parser"]) == 2
    assert rank_of(silent, ["BETA", "ALPHA"]) == 2
    assert rank_of(PARSER, ["BETA.mapping"]) == 0


def test_ranked_causes_are_those_that_the_incident_names() -> None:
    """By rank, each once, and "unknown" names nobody; without any, the alerts in their order."""
    cause = {"component": "parser", "kind": "METRIC_SHIFT"}
    causes = [
        cause | {"rank": 2, "module": "BETA", "component": ""},
        cause | {"rank": 1, "module": "ALPHA"},
        cause | {"rank": 3, "module": "ALPHA"},
        cause | {"rank": 4, "module": "PHI", "kind": "UNKNOWN"},
    ]
    assert ranked_causes(LAYOUT, {"causes": causes, "alerts": []}) == ("ALPHA.parser", "BETA")
    by_alerts = {"alerts": [alert("GAMMA", to_stage="routing"), alert("PHI")]}
    assert ranked_causes(LAYOUT, by_alerts) == ("GAMMA.routing", "PHI")
