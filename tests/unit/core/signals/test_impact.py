"""What is at risk downstream, by hand on a small graph."""

import json

import pytest

from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.core.signals.cell import events_cell
from streams.core.signals.impact import KEPT_US, Impact, Pipeline, StageRates
from streams.core.signals.series import Series
from streams.core.signals.stages import stage_partials, stage_series
from tests.signal_cases import SECOND, T0

WINDOW = 10 * SECOND
PLACES = {"read": "A", "breaker": "B", "write": "C"}
GRAPH = Pipeline(
    Topology(
        {"A": ModuleInfo(), "B": ModuleInfo(depends_on=("A",)), "C": ModuleInfo()},
        (Edge("f", "read", "breaker"), Edge("f", "breaker", "write")),
        {Place("f", stage): module for stage, module in PLACES.items()},
    ),
    {Place("f", stage): stage for stage in PLACES},
)


def rates(**per_window: list[int]) -> StageRates:
    made = StageRates(WINDOW)
    for stage, counts in per_window.items():
        for at, count in enumerate(counts):
            series = stage_series(PLACES[stage], "f", stage)
            made.apply(0, T0 + at * WINDOW, [(series, events_cell(count, T0))])
    return made


def metric(module: str, component: str, **dimensions: str) -> Series:
    return Series("METRIC", module, component, "m", dimensions=tuple(dimensions.items()))


def test_a_rate_is_the_median_of_windows_that_are_over() -> None:
    """100, 300 and 200 in 10 s: 20 a second; the newest window still fills."""
    assert rates(read=[100, 300, 200, 7]).per_second(Place("f", "read")) == 20.0


def test_a_stop_does_not_take_the_rate_with_it() -> None:
    """Empty windows after the stop are what happened, not what is at risk."""
    assert rates(read=[100, 100, 0, 0, 0, 0]).per_second(Place("f", "read")) == 10.0


def test_partitions_add_up_and_repeats_replace() -> None:
    """Two partitions of 50; the second says so twice."""
    made, series = StageRates(WINDOW), stage_series("A", "f", "read")
    for partition, count in ((0, 50), (1, 20), (1, 50)):
        made.apply(partition, T0, [(series, events_cell(count, T0))])
    assert made.per_second(Place("f", "read")) == 10.0


def test_old_windows_are_let_go() -> None:
    """The rate is that of the last minutes."""
    made, series = StageRates(WINDOW), stage_series("A", "f", "read")
    made.apply(0, T0, [(series, events_cell(1_000, T0))])
    later = T0 + KEPT_US + WINDOW
    for at in (later, later + WINDOW):
        made.apply(0, at, [(series, events_cell(50, at))])
    assert made.per_second(Place("f", "read")) == 5.0


def test_a_breaker_puts_at_risk_what_comes_to_it() -> None:
    """The breaker's stage saw little, its near stage 40 a second; C waits for it."""
    made = rates(read=[400, 400, 400], breaker=[10, 10, 10])
    impact = GRAPH.impact(metric("B", "breaker"), made)
    assert impact == Impact(40.0, ("f",), ("C",))


def test_a_target_that_is_a_module_is_what_stops() -> None:
    """The breaker towards C speaks of C."""
    made = rates(breaker=[200, 200, 200], write=[100, 100, 100])
    impact = GRAPH.impact(metric("B", "breaker", target="C"), made)
    assert impact == Impact(20.0, ("f",), ("C",))


@pytest.mark.parametrize("hop", ["b_c", "B>C", "x_c"])
def test_a_hop_speaks_of_its_far_module(hop: str) -> None:
    """In any case of letters."""
    made = rates(breaker=[200, 200, 200], write=[100, 100, 100])
    assert GRAPH.impact(metric("A", "circuit", hop=hop), made).records_per_second == 20.0


def test_a_component_without_a_stage_stands_for_its_module() -> None:
    """The module's most upstream stage counts."""
    assert GRAPH.impact(metric("A", "pool"), rates(read=[100, 100])).records_per_second == 10.0
    assert GRAPH.impact(metric("X", "pool"), rates(read=[100, 100])) == Impact()


def test_one_stage_is_a_place_and_several_are_none() -> None:
    """An alert names a stage only where there is no doubt."""
    assert GRAPH.place_of(metric("B", "breaker")) == Place("f", "breaker")
    assert GRAPH.place_of(metric("B", "other")) == Place("", "")


def test_stages_come_from_the_counts_of_closed_traces() -> None:
    """Spans of stages of flows; learned calls and other scopes are left out."""
    scope = {"kind": "stage", "flow": "f", "from_stage": "", "to_stage": "go", "module": "A"}
    others = [{**scope, "kind": "edge"}, {**scope, "flow": ""}]
    partial = {
        "window_start": T0, "window_us": WINDOW,
        "scopes": [{**one, "counters": {"spans": 7}} for one in (scope, *others)],
    }  # fmt: skip
    (record,) = stage_partials([partial], 99)
    assert (record["window_start"], record["watermark"]) == (T0, 99)
    ((name, count),) = [(row["name"], row["count"]) for row in record["series"]]
    assert (name, count) == ("f/go", 7)
    assert list(stage_partials([{**partial, "scopes": []}], 99)) == []


@pytest.mark.parametrize("stage", ["read", "breaker"])
def test_rates_survive_a_restart(stage: str) -> None:
    """Restored rates answer alike."""
    made = rates(read=[100, 300, 200], breaker=[5, 5])
    other = StageRates(WINDOW)
    other.restore(json.loads(json.dumps(made.snapshot())))
    place = Place("f", stage)
    assert other.per_second(place) == made.per_second(place)
