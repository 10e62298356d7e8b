"""What modules say of themselves: every signal of the contract, in its topic, and it moves."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import product
from random import Random
from typing import Any

import pytest

from streams.contract.loader import SHIPPED, load_contract
from streams.contract.model import Contract
from streams.simulate.events import Emission
from streams.simulate.faults import BAD_DEPLOY, CHANGE_KINDS, ERROR_BURST, Fault
from streams.simulate.layout import read_layout
from streams.simulate.modules.parts import Second
from streams.simulate.pipeline import Simulation
from streams.simulate.signals import HEARTBEAT, Signals
from streams.simulate.storms import component_faults
from streams.simulate.walk import Unit
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import START_US
from tests.unit.simulate.test_layout import small_contract

pytestmark = pytest.mark.slow

RATE = 20.0
EVERY_S, LENGTH_S = 4, 9
MOVED_RATIO = 0.1
Series = tuple[str, str]
SIGNALS = [(name, s.name) for name in SHIPPED for s in load_contract(name).signals]
EVENTS = [(name, e.name) for name in SHIPPED for e in load_contract(name).events]


@cache
def planted(contract_name: str) -> tuple[Fault, ...]:
    """Return every kind of fault of a component at every place, one begun after the other."""
    layout = read_layout(load_contract(contract_name))
    kinds = sorted(component_faults(layout), key=lambda f: (f.kind, f.where, f.value))
    seen: dict[tuple[str, str], Fault] = {}
    for fault in kinds:  # one value of each dimension is enough
        seen.setdefault((fault.kind, fault.where), fault)
    out = []
    for number, fault in enumerate(seen.values()):
        begin_us = START_US + (8 + EVERY_S * number) * SECOND_US
        end_us = begin_us + LENGTH_S * SECOND_US
        out.append(replace(fault, start_us=begin_us, end_us=end_us))
    return tuple(out)


class Chatter(Simulation):
    """A run in which nobody sends records: what modules say every second reaches the topics."""

    def _sources(self) -> list[Any]:
        return super()._sources()[:1]


@cache
def emitted(contract_name: str, has_faults: bool) -> tuple[Emission, ...]:
    """Return what modules say of themselves in a run, with all faults or without any."""
    contract = load_contract(contract_name)
    faults = planted(contract_name)
    seconds = 8 + EVERY_S * len(faults) + LENGTH_S
    run = Chatter(contract, 5, START_US, seconds, RATE, faults if has_faults else ())
    return tuple(run.drain())


def values(emissions: Iterable[Emission]) -> dict[Series, dict[int, float]]:
    """Return the values of each series by second."""
    found: dict[Series, dict[int, float]] = {}
    for emission in emissions:
        event = emission.event
        if event["event_type"] == "METRIC":
            series = (event["name"], repr(sorted(event["dimensions"].items())))
            second = (event["timestamp"] - START_US) // SECOND_US
            found.setdefault(series, {}).setdefault(second, event["value"])
    return found


@cache
def movement(contract_name: str) -> dict[str, float]:
    """Return by signal how far faults move it at most, as a share of what it is without them.

    A total is compared in units of what it gains in ten seconds, and by no less than one.
    """
    moved = values(emitted(contract_name, True))
    still = values(emitted(contract_name, False))
    assert moved.keys() == still.keys()
    out: dict[str, float] = {}
    for series, usual in still.items():
        total = ".counter." in series[0]
        last = max(usual)
        gained = 10 * (usual[last] - usual[min(usual)]) / last
        for second, value in usual.items():
            unit = max(gained, 10.0) if total else abs(value) + 1e-9
            share = abs(moved[series][second] - value) / unit
            out[series[0]] = max(out.get(series[0], 0.0), share)
    return out


@pytest.mark.parametrize(("contract_name", "signal"), SIGNALS)
def test_every_signal_moves(contract_name: str, signal: str) -> None:
    """Some fault moves it by a tenth of what it is at the same time in the run without faults."""
    assert movement(contract_name).get(signal, 0.0) >= MOVED_RATIO


@pytest.mark.parametrize(("contract_name", "name"), EVENTS)
def test_every_named_event_is_told_by_its_emitters(contract_name: str, name: str) -> None:
    """It is seen in the topics, of its type, from those that may tell it, naming what it should."""
    contract = load_contract(contract_name)
    spec = next(event for event in contract.events if event.name == name)
    told = [e.event for e in emitted(contract_name, True) if e.event["name"] == name]
    assert told
    for event in told:
        assert event["event_type"] == spec.event_type
        assert spec.emitters == ("*",) or f"{event['module']}.{event['component']}" in spec.emitters
        assert event["dimensions"].keys() <= {*spec.dimensions, *spec.free}
        assert event["unit"] == spec.unit
        for key in event["dimensions"].keys() & contract.dimensions.keys():
            assert event["dimensions"][key] in contract.dimensions[key]


@pytest.mark.parametrize("contract_name", SHIPPED)
def test_every_series_is_reported_every_second_in_its_topic(contract_name: str) -> None:
    """Each combination of a signal's dimensions, once a second, where its module's events go."""
    contract = load_contract(contract_name)
    points = [e for e in emitted(contract_name, False) if e.event["event_type"] == "METRIC"]
    first = START_US + 3 * SECOND_US
    seen = sorted(
        (e.event["name"], repr(sorted(e.event["dimensions"].items())))
        for e in {e.event["event_id"]: e for e in points}.values()
        if first <= e.event["timestamp"] < first + SECOND_US
    )
    assert seen == sorted(
        (s.name, repr(sorted(zip(s.dimensions, labels, strict=True))))
        for s in contract.signals
        for labels in product(*(contract.dimensions[d] for d in s.dimensions))
    )
    for emission in points:
        assert emission.topic == contract.topic(emission.event["module"])
        assert emission.event["trace_id"] == ""


@pytest.mark.parametrize("contract_name", SHIPPED)
def test_every_error_category_is_logged(contract_name: str) -> None:
    """Errors of spans name theirs in a line; every category of the contract is counted."""
    contract = load_contract(contract_name)
    categories = set(contract.dimensions["error_category"])
    bursts = [f for f in component_faults(read_layout(contract)) if f.kind == ERROR_BURST]
    faults = [replace(f, start_us=START_US, end_us=START_US + 4 * SECOND_US) for f in bursts]
    lines = [e.event for e in Simulation(contract, 5, START_US, 4, RATE, faults).drain()]
    errors = [e for e in lines if e["event_type"] == "LOG" and e["severity"] == "ERROR"]
    assert all(e["dimensions"]["error_category"] for e in errors if e["trace_id"])
    assert {e["component"] for e in errors} >= {f.where.split(".")[1] for f in bursts}
    counted = {
        e.event["dimensions"].get("error_category", "")
        for e in emitted(contract_name, True)
        if e.event["event_type"] == "METRIC"
    }
    assert categories <= counted


def test_changes_are_audited_whether_or_not_they_break_something() -> None:
    """A change is an AUDIT event with its kind, its author and an id; most are harmless."""
    told = [e.event for e in emitted("seed", True) if e.event["name"] == "change_applied"]
    for event in told:
        assert event["event_type"] == "AUDIT"
        assert event["operation"] == event["dimensions"]["change"]
        assert event["actor"]
        assert event["correlation_id"] == event["dimensions"]["change_id"]
    broken = [f for f in planted("seed") if f.kind in CHANGE_KINDS]
    assert {BAD_DEPLOY} < {f.kind for f in broken}
    for fault in broken:
        places = [(e["module"], e["component"]) for e in told]
        assert places.count(tuple(fault.where.split("."))) >= 2, "applied, and taken back"
    harmless = [e.event for e in emitted("seed", False) if e.event["name"] == "change_applied"]
    assert harmless
    assert not any(f.kind == ERROR_BURST and f.kind in CHANGE_KINDS for f in planted("seed"))


def test_counters_never_go_back() -> None:
    """A counter's value does not fall from one second to the next, whatever breaks."""
    for series, by_second in values(emitted("seed", True)).items():
        if ".counter." in series[0]:
            in_order = [by_second[second] for second in sorted(by_second)]
            assert in_order == sorted(in_order), series


def second_of(contract: Contract, number: int) -> list[dict[str, Any]]:
    unit = Unit(START_US, Random(number), Random(1), Random(1))
    signals = Signals(contract, read_layout(contract))
    return [draft.event for draft in signals.render(unit, number, Second())]


def test_a_contract_without_signals_still_reports() -> None:
    """A module whose signals nobody names has one metric a component, and a heartbeat."""
    events = second_of(small_contract(), 0)
    metrics = [e for e in events if e["event_type"] == "METRIC"]
    assert [(e["module"], e["component"]) for e in metrics] == [
        ("A", "door"), ("B", "side"), ("B", "second"), ("B", "third"), ("IDLE", "idle"),
    ]  # fmt: skip
    assert {e["module"] for e in events if e["name"] == HEARTBEAT} == {"A", "B", "IDLE"}
    assert not [e for e in second_of(small_contract(), 1) if e["name"] == HEARTBEAT]
