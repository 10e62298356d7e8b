"""The storm of the delivery benchmark, and how it counts what arrived."""

from benchmarks.incidents.delivery import Receiver, _case, _out_of_order, _totals, storm, table


def test_a_storm_is_a_function_of_its_seed() -> None:
    """Versions of each incident count from 1 without gaps, and an ended one says no more."""
    assert storm(7, 200) == storm(7, 200) != storm(8, 200)
    versions: dict[str, int] = {}
    ended: set[str] = set()
    for event in storm(7, 200):
        id_ = event["incident_id"]
        assert id_ not in ended
        assert event["version"] == versions.get(id_, 0) + 1
        versions[id_] = event["version"]
        if event["event"] == "RESOLVED":
            ended.add(id_)
    assert ended


def test_what_is_missing_repeated_or_out_of_order_is_counted() -> None:
    """By hand: of four events one is lost, one came twice, one came after a later version."""
    one = Receiver("well", "answers at once")
    one.took = [(10.0, "a-2"), (10.5, "a-1"), (11.0, "b-1"), (12.0, "b-1")]
    written = {"a-1": 9.0, "a-2": 9.5, "b-1": 10.5, "c-1": 11.0}
    case = _case(one, written)
    assert (case["lost"], case["duplicates"], case["out_of_order"]) == (1, 1, 1)
    assert (case["delivered"], case["max_s"]) == (3, 1.5)
    totals = _totals([case], written)
    assert (totals["events"], totals["lost"], totals["p99_well_s"]) == (4, 1, 1.5)
    assert len(list(table({"cases": [case]}))) == 2


def test_versions_in_order_are_not_out_of_order() -> None:
    """Incidents may overtake each other."""
    assert _out_of_order({"a-1": 1.0, "b-1": 2.0, "a-2": 3.0, "a-10": 4.0, "b-2": 5.0}) == 0
