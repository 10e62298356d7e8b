"""Storms through the engine in one process: a planted fault becomes one incident, and counts."""

import pytest

from benchmarks.incidents.engine import Engine, Written, batch_of, lab_settings
from benchmarks.incidents.storms import START_US, by_kind, run_storm, totals, updates_after
from streams.codec.recordbatch import Record, records_of
from streams.contract.loader import load_contract
from streams.simulate.blame import candidates
from streams.simulate.layout import read_layout
from streams.simulate.pipeline import Simulation
from streams.simulate.storms import single_storms

pytestmark = pytest.mark.slow


def test_a_batch_holds_the_records_it_was_made_of() -> None:
    """What the engine's own topics hand on is read back as it was written."""
    records = [Record(7, 1_000, b"key", b"value"), Record(8, 1_250, None, b"")]
    assert records_of(batch_of(records)) == records


def test_every_event_is_accounted_for() -> None:
    """The in-process engine takes in all that it is fed, and nothing stays open."""
    simulation = Simulation(load_contract("seed"), 3, START_US, 4, 5)
    engine = Engine(lab_settings("seed"))
    fed = engine.feed(simulation.drain())
    for second in range(1, 25):
        engine.tick(START_US + second * 1_000_000)
    accounts = engine.accounting()
    assert accounts["accepted"] == fed == simulation.truth.events
    assert accounts["open"] == 0
    assert engine.counters() == {}


def test_a_storm_is_found_and_counted() -> None:
    """One planted fault is one incident that names it first, and the totals say so."""
    storms = single_storms(load_contract("seed"), [1], START_US)
    storm = next(storm for storm in storms if storm.kind == "acknowledgments_lost")
    found = run_storm(storm)
    assert [case["rank"] for case in found["cases"]] == [1]
    assert 0 < found["cases"][0]["detected_at_s"] < 15
    assert (found["false"], found["over_merged"], found["split"]) == ([], [], 0)
    summed = totals([found])
    layout = read_layout(load_contract("seed"))
    assert (summed["cases"], summed["top1"], summed["missed"]) == (1, 1, 0)
    assert summed["top1_ratio"] == 1.0
    assert summed["chance_top1"] == pytest.approx(2 / len(candidates(layout)))
    assert by_kind([found]) == {"acknowledgments_lost": summed}
    assert summed["told"] == {"OPENED opened": 1, "RESOLVED quiet": 1}
    assert summed["first_event_s_max"] == 0.1, "the hold alone, in a tenth of a worker's time"
    assert summed["updates_after_s"] == {}
    assert summed["fewer_ratio"] == summed["fewer_at_best_ratio"] == 1 - 2 / summed["alerts"]
    assert summed["fewer_incidents_ratio"] == 1 - 1 / summed["alerts"]
    case = found["cases"][0]
    assert case["truth"] == case["ranked"][0]
    assert case["truth"] in case["right"]


def test_updates_are_counted_from_the_first_event() -> None:
    """By reason, each from the opening of its own incident; beginnings and ends are none."""
    told = [
        ("a", 10, "OPENED", "opened"),
        ("b", 12, "OPENED", "opened"),
        ("a", 13, "UPDATED", "worse"),
        ("b", 42, "UPDATED", "worse"),
        ("a", 50, "UPDATED", "joined"),
        ("a", 99, "RESOLVED", "quiet"),
    ]
    events = [
        Written(at * 1_000_000, {"incident_id": id_, "event": event, "reason": reason})
        for id_, at, event, reason in told
    ]
    assert updates_after(events) == {"worse": [3.0, 30.0], "joined": [40.0]}
