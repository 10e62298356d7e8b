"""The pipeline's health out of an archive: as programs read it, by role, and from a terminal."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.cli.query import _show
from streams.console.archive.archive import Archive
from streams.console.questions.pipeline_health import (
    NO_PROMISE,
    READ_US,
    STEP_US,
    Promise,
    pipeline_health,
    promise_of,
)
from streams.console.questions.queries import Queries
from streams.contract.loader import load_contract, parse_contract
from streams.core.health.graph import Graph
from streams.runtime import topics
from tests.unit.console.asking import asked
from tests.unit.console.at_hand import (
    SECOND,
    T0_US,
    TELEMETRY,
    alert_state,
    archive_in,
    event,
    incident,
    message,
    trace,
    window,
)

CONTRACT = """
version: "1"
name: chain
modules:
  A: {owner: a-team}
  B: {depends_on: [A]}
  C: {depends_on: [B]}
flows:
  f:
    entry: take
    wait_ms: 5000
    stages:
      - {id: take, module: A, component: intake, name: a.take}
      - {id: turn, module: B, component: turner, name: b.turn, after: [take]}
      - {id: give, module: C, component: giver, name: c.give, after: [turn]}
"""
PROMISE = promise_of(parse_contract(CONTRACT))
STEPS = 12
NOW_US = T0_US + STEPS * STEP_US + PROMISE.wait_us + READ_US
PER_STEP = 80
PLACES = (("A", "intake"), ("B", "turner"), ("C", "giver"))


def filled(folder: Path, *, is_hurt: bool = False) -> Archive:
    """Return an archive of spans of three modules, 80 a step each.

    Where it is hurt, B falls to a quarter in the last five steps, and C with it; of what B still
    does, every tenth fails.
    """
    archive = archive_in(folder)
    for step in range(STEPS):
        is_late = is_hurt and step >= STEPS - 5
        spans = []
        for n in range(PER_STEP):
            at_us = T0_US + step * STEP_US + n * STEP_US // PER_STEP
            reached = PLACES[:1] if is_late and n % 4 else PLACES
            ids = range(3 * (step * PER_STEP + n), 3 * (step * PER_STEP + n) + 3)
            spans += [
                _span(id_, at_us, place, is_failed=is_late and not n % 40 and place == PLACES[1])
                for id_, place in zip(ids, reached, strict=False)
            ]
        archive.take(message(topics.TRACES, step, _trace(step, spans)))
    last = _span(10**6, NOW_US - SECOND, PLACES[0], is_failed=False)
    archive.take(message(topics.TRACES, STEPS, _trace(STEPS, [last])))
    newest = {"window_start": NOW_US - 10 * SECOND, "window_us": 10 * SECOND, "kind": "edge"}
    for number, (near, far) in enumerate((("take", "turn"), ("turn", "give"))):
        of = {"flow": "f", "from_stage": near, "to_stage": far, "expected": 100, "observed": 100}
        burn = {"burn_rate_short": 0.0, "burn_rate_long": 0.0}
        archive.take(message(topics.STATS, number, window(**newest, **of, **burn, missing={})))
    return archive


def _trace(number: int, spans: list[dict[str, Any]]) -> dict[str, Any]:
    return trace(
        f"{number + 1:032x}", flow="f", status="COMPLETE", start=spans[0]["timestamp"],
        duration_us=3_000, span_count=len(spans), spans=spans, missing=[],
    )  # fmt: skip


def _span(id_: int, at_us: int, place: tuple[str, str], *, is_failed: bool) -> dict[str, Any]:
    return event(
        "span",
        event_id=f"00000000-0000-4000-8000-{id_:012x}",
        trace_id="a" * 32,
        span_id=f"{id_ + 1:016x}",
        parent_span_id=f"{id_:016x}" if place != PLACES[0] else "",
        timestamp=at_us,
        module=place[0],
        component=place[1],
        severity="ERROR" if is_failed else "INFO",
        duration_us=1_000,
        links=[],
    )


def ask(archive: Archive, promise: Promise = PROMISE, now_us: int = NOW_US) -> dict[str, Any]:
    return pipeline_health(Queries(archive, 256 << 20, 1), promise, now_us)


def by_place(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        one["module"] or one["flow"]: one
        for one in found["predictive_indicators"]
        if one["indicator_type"] == kind
    }


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return the archive of a pipeline that is well."""
    return filled(tmp_path_factory.mktemp("well"))


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return the archive of one that is not."""
    return filled(tmp_path_factory.mktemp("hurt"), is_hurt=True)


def alert(module: str, component: str, **fields: Any) -> dict[str, Any]:
    (first, *_) = incident()["alerts"]
    about = {"module": module, "component": component, "fingerprint": f"{module:f<32}"}
    return {**first, **about, "state": "FIRING", "severity": "CRITICAL"} | fields


def test_a_pipeline_that_is_well_is_called_so(well: Archive) -> None:
    """Each module and dependency is HEALTHY, and nothing is about to go wrong."""
    found = ask(well)
    # B and C were heard last when the traces stopped, less than two minutes ago.
    shown = {name: one["status"] for name, one in found["module_health"].items()}
    assert shown == {"A": "HEALTHY", "B": "HEALTHY", "C": "HEALTHY"}
    assert found["overall_status"] == "HEALTHY"
    risks = [one["downstream_risk"] for one in found["module_health"].values()]
    assert risks == [1.0, 0.5, 0.0]
    edges = [
        (one["from_module"], one["to_module"], one["affects"], one["status"], one["ratio"])
        for one in found["dependency_graph"]
    ]
    both = ("AVAILABILITY", "THROUGHPUT")
    assert edges == [("A", "B", both, "HEALTHY", 1.0), ("B", "C", both, "HEALTHY", 1.0)]
    assert {one["trend"] for one in found["predictive_indicators"]} == {"STABLE"}
    assert {one["time_to_threshold"] for one in found["predictive_indicators"]} == {None}
    falls = by_place(found, "THROUGHPUT_DECLINE")
    assert falls.keys() == {"A", "B", "C"}
    assert falls["A"]["current_value"] == pytest.approx(PER_STEP / 30)
    assert falls["A"]["threshold"] == pytest.approx(PER_STEP / 60)
    assert by_place(found, "LATENCY_SPIKE")["B"]["threshold"] == 2_000
    assert found["cascades"] == []


def test_flows_are_judged_as_a_whole(well: Archive) -> None:
    """The 95th percentile of a flow's complete traces, where there are enough of them."""
    found = ask(well, PROMISE._replace(count_min=1))
    one = by_place(found, "LATENCY_SPIKE")["f"]
    assert one["current_value"] == pytest.approx(3_000, rel=0.1)
    assert one["status"] == "HEALTHY"


def test_what_falls_upstream_is_not_the_fault_of_those_behind(hurt: Archive) -> None:
    """B falls to a quarter and C with it: C's trouble is B's, and is said to be."""
    found = ask(hurt)
    modules = found["module_health"]
    assert {name: one["status"] for name, one in modules.items()} == {
        "A": "HEALTHY", "B": "DEGRADED", "C": "DEGRADED",
    }  # fmt: skip
    bad = ("THROUGHPUT_DECLINE", "ERROR_RATE_INCREASE")
    assert modules["B"]["components"]["turner"]["indicators"] == bad
    assert (modules["B"]["upstream_impact"], modules["C"]["upstream_impact"]) == (0.0, 1.0)
    (cascade,) = found["cascades"]
    assert (cascade["module"], cascade["from_module"], cascade["path"]) == ("C", "B", ("B", "C"))
    assert by_place(found, "THROUGHPUT_DECLINE")["C"]["time_to_threshold"] == 0.0
    assert found["overall_status"] == "DEGRADED"
    one = by_place(found, "ERROR_RATE_INCREASE")["B"]
    assert (one["current_value"], one["threshold"]) == (pytest.approx(0.1), 0.05)
    assert [i["status"] for i in found["predictive_indicators"][:3]] == ["DEGRADED"] * 3


def test_an_open_incident_is_somebodys_and_a_closed_one_nobodys(tmp_path: Path) -> None:
    """The alert in C is explained by that in B: C cascades. Once it is over, all is well."""
    archive = filled(tmp_path)
    cause = alert("B", "turner")
    effect = alert("C", "giver", caused_by=cause["fingerprint"])
    about = {"module": "B", "component": "turner", "severity": "CRITICAL", "causes": []}
    told = incident("c" * 32, alerts=[cause, effect], version=1, event="OPENED", **about)
    archive.take(message(topics.INCIDENTS, 0, told))
    found = ask(archive)
    modules = found["module_health"]
    assert [one["status"] for one in modules.values()] == ["HEALTHY", "UNHEALTHY", "UNHEALTHY"]
    assert modules["C"]["upstream_impact"] == 1.0
    assert modules["B"]["upstream_impact"] == 0.0
    assert modules["C"]["components"]["giver"]["incident_ids"] == ("c" * 32,)
    assert [one["from_module"] for one in found["cascades"]] == ["B"]
    assert [one["status"] for one in found["dependency_graph"]] == ["HEALTHY", "UNHEALTHY"]
    assert (found["overall_status"], found["open_incidents"]) == ("UNHEALTHY", 1)
    over = told | {"version": 2, "event": "RESOLVED", "resolved_at": NOW_US}
    archive.take(message(topics.INCIDENTS, 1, over))
    assert ask(archive)["overall_status"] == "HEALTHY"


def test_an_alert_that_is_over_hurts_nobody_while_its_incident_is_open(tmp_path: Path) -> None:
    """The incident said nothing since; what the alerts said last is in the archive too."""
    archive = filled(tmp_path)
    cause = alert("B", "turner")
    effect = alert("C", "giver", caused_by=cause["fingerprint"])
    about = {"module": "B", "component": "turner", "severity": "CRITICAL", "causes": []}
    both = {"alerts": [cause, effect], "alerts_firing": 2, "alert_count": 2}
    told = incident("c" * 32, **both, version=1, event="OPENED", **about)
    archive.take(message(topics.INCIDENTS, 0, told))
    names = ("fingerprint", "module", "component", "severity", "firing_since", "last_seen")

    def say(offset: int, of: dict[str, Any], state: str, version: int) -> dict[str, Any]:
        said = alert_state(**{n: of[n] for n in names}, state=state, version=version)
        archive.take(message(topics.ALERTS, offset, said))
        return ask(archive)

    found = say(0, cause, "FIRING", 1)
    assert (found["firing_incidents"], found["overall_status"]) == (1, "UNHEALTHY")
    found = say(1, cause, "RESOLVED", 2)
    shown = {name: one["status"] for name, one in found["module_health"].items()}
    assert shown == {"A": "HEALTHY", "B": "HEALTHY", "C": "UNHEALTHY"}
    assert [one["from_module"] for one in found["cascades"]] == ["B"], "it began there"
    found = say(2, effect, "RESOLVED", 2)
    assert (found["open_incidents"], found["firing_incidents"]) == (1, 0)
    assert found["overall_status"] == "HEALTHY"
    assert {one["upstream_impact"] for one in found["module_health"].values()} == {0.0}


def test_silence_is_unknown(well: Archive, tmp_path: Path) -> None:
    """Of an empty archive nothing is known, nor minutes after the last span."""
    empty = ask(archive_in(tmp_path))
    assert empty["overall_status"] == "UNKNOWN"
    assert {one["status"] for one in empty["module_health"].values()} == {"UNKNOWN"}
    assert empty["module_health"]["A"]["last_seen"] == 0
    late = ask(well, now_us=NOW_US + 180 * SECOND)
    assert {one["status"] for one in late["module_health"].values()} == {"UNKNOWN"}
    assert ask(archive_in(tmp_path / "none"), NO_PROMISE)["module_health"] == {}


def test_what_no_worker_has_judged_is_not_heard(tmp_path: Path) -> None:
    """Metric points alone, while no trace is closed and no window told, prove no health."""
    archive = archive_in(tmp_path)
    at = {"timestamp": NOW_US - SECOND, "module": "A", "component": "intake"}
    archive.take(message(TELEMETRY, 0, event("metric_outside_traces", **at)))
    assert ask(archive)["module_health"]["A"]["status"] == "UNKNOWN"
    archive.take(message(topics.STATS, 0, window(window_start=NOW_US - 10 * SECOND)))
    assert ask(archive)["module_health"]["A"]["status"] == "HEALTHY"


def test_without_a_contract_the_spans_say_who_hands_over(tmp_path: Path) -> None:
    """No contract and no edges: parents of spans are the graph."""
    archive = archive_in(tmp_path)
    spans = [_span(n, NOW_US - SECOND, place, is_failed=False) for n, place in enumerate(PLACES)]
    archive.take(message(topics.TRACES, 0, trace("a" * 32, spans=spans)))
    found = ask(archive, NO_PROMISE)
    steps = [(one["from_module"], one["to_module"]) for one in found["dependency_graph"]]
    assert steps == [("A", "B"), ("B", "C")]
    risks = {name: one["downstream_risk"] for name, one in found["module_health"].items()}
    assert risks == {"A": 1.0, "B": 0.5, "C": 0.0}


def test_the_seed_contract_says_who_affects_whom() -> None:
    """Alpha affects Beta's availability, and Beta affects Gamma's throughput."""
    graph = Graph(promise_of(load_contract("seed")).topology)
    affects = {(d.from_module, d.to_module): d.affects for d in graph.dependencies}
    assert "AVAILABILITY" in affects["ALPHA", "BETA"]
    assert "THROUGHPUT" in affects["BETA", "GAMMA"]
    assert affects["EPSILON", "BETA"] == ("AVAILABILITY",)
    assert "GAMMA" not in graph.upstream("ALPHA")
    assert graph.risk_ratio("ALPHA") > graph.risk_ratio("BETA") > graph.risk_ratio("GAMMA")


def test_the_path_answers_viewers_and_nobody_else(tmp_path: Path) -> None:
    """As its neighbours: a key is needed, the least role is enough."""
    with asked(tmp_path) as console:
        assert console.ask("/api/v1/pipeline/health").status_code == 401
        found = console.ask("/api/v1/pipeline/health", key="viewer")
        assert console.ask("/api/v1/pipeline/health?at=1", key="viewer").status_code == 400
    assert found.status_code == 200
    said = found.json()
    assert said["overall_status"] in ("UNKNOWN", "DEGRADED", "UNHEALTHY")
    assert said["timestamp"].endswith("Z")
    assert said["open_incidents"] == 1


def test_a_terminal_shows_modules_as_rows(
    hurt: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each module, named, with its status and shares."""
    _show([json.loads(json.dumps(ask(hurt)))])
    shown = capsys.readouterr().out
    assert "overall_status: DEGRADED" in shown
    row = next(line for line in shown.splitlines() if line.strip().startswith("C "))
    assert row.split()[1:4] == ["DEGRADED", "1", "0"]
