"""A real fault makes a cascade, and health says whose it is: real broker, worker and console.

The breaker of the INTEGRATION layer trips before GAMMA for a moment, and soon it opens. GAMMA is
starved, work piles up in BETA and, by back-pressure, in ALPHA's buffer, against the way of the
records. The cache and the orchestrator do as ever. The pipeline lived minutes before the test
began: what it said then is sent at once, so that there is a usual to compare with. Then it goes on
as time does, without the fault.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import pytest

from streams.codec.records import encode
from streams.console.questions.pipeline_health import STEP_US
from streams.contract.loader import load_contract
from streams.simulate.faults import BREAKER_OPEN, Fault
from streams.simulate.pipeline import Simulation
from streams.units import HOUR_US, SECOND_US
from tests.fault.console import ConsoleAt
from tests.fault.harness import Deployment, Feeder, WorkerProcess, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

SETTINGS: Final = {
    "burn_short_seconds": 10,
    "burn_long_seconds": 20,
    "quiet_seconds": 15,
    "warm_up_seconds": 2,
    "incident_update_seconds": 1,
}
"""As in production, but that an alert ends soon after its violation, and not before it is seen."""
ORIGIN: Final = "INTEGRATION"
HOP: Final = "beta_gamma"
HURT: Final = {"ALPHA", "BETA", "GAMMA"}
BESIDE: Final = "PHI"
"""Jobs go neither by the layer nor to who needs it."""
BEFORE_US: Final = 5 * STEP_US
"""Steps that say what is usual, and one in which the first records come."""
TRIP_US: Final = SECOND_US
"""So long the breaker is forced open at first; it tries again after four seconds, and closes."""
TRIPPED_US: Final = 12 * SECOND_US
"""The window in which it trips, and what shows that this one is over."""
BROKEN_AFTER_US: Final = STEP_US
"""So long after it has tripped the breaker opens and stays so."""
BROKEN_US: Final = STEP_US
"""So long it is open when this is told first: rules ask for half a minute."""
AGO_US: Final = 75 * SECOND_US
"""What is told of the fault is so old. When it is over, what came since is told at once: the older,
the shorter the recovery."""
RECORDS_PER_SECOND: Final = 4.0


def now_us() -> int:
    return time.time_ns() // 1_000


class Telemetry:
    """What the pipeline says, sent piece by piece; the fault lasts until it is mended."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        told_us = (now_us() - AGO_US) // STEP_US * STEP_US
        self._trips_us = told_us - BROKEN_US - BROKEN_AFTER_US
        self._sent_us = 0
        self._simulation = self._broken_until(now_us() + HOUR_US)

    def trip(self) -> None:
        """Send all until the breaker has tripped and is closed again, then second by second."""
        first_us, last_us = self._trips_us + TRIPPED_US, self._trips_us + BROKEN_AFTER_US
        self._send(min(max(first_us, self._sent_us + SECOND_US), last_us))

    def hurt(self) -> None:
        """Send what was said until some time ago, all of it while the fault lasts."""
        self._send(now_us() - AGO_US)

    def mend(self) -> None:
        """Let the fault be over when the last was said that was sent."""
        self._simulation = self._broken_until(self._sent_us)
        for _ in self._simulation.emissions(self._sent_us):
            pass  # the same as was sent

    def go_on(self) -> None:
        """Send what was said until now."""
        self._send(now_us())

    def _send(self, until_us: int) -> None:
        with Feeder(self._broker) as feeder:
            for one in self._simulation.emissions(until_us):
                value = encode("telemetry_event", one.event)
                feeder.send_bytes(one.topic, one.key.encode(), value)
        self._sent_us = until_us

    def _broken_until(self, end_us: int) -> Simulation:
        trips_us, breaks_us = self._trips_us, self._trips_us + BROKEN_AFTER_US
        faults = [
            Fault(BREAKER_OPEN, f"{ORIGIN}.circuit_breaker", *span, dimension="hop", value=HOP)
            for span in ((trips_us, trips_us + TRIP_US), (breaks_us, end_us))
        ]
        start_us = trips_us - BEFORE_US
        return Simulation(load_contract("seed"), 5, start_us, 3_600, RECORDS_PER_SECOND, faults)


class Look:
    """Asks for the health again and again; keeps the last answer, and what it shows in words."""

    def __init__(self, at: ConsoleAt, worker: WorkerProcess) -> None:
        self._at, self._worker = at, worker
        self.found: dict[str, Any] = {}

    def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask until the answer is what it should be, and return that."""

        def ask() -> bool:
            time.sleep(0.5)
            self.found = self._at.get("/api/v1/pipeline/health") or self.found
            return bool(self.found) and is_so(self.found)

        wait_for(ask, 60, self.what, self._worker)
        return self.found

    def what(self) -> str:
        """Return the last answer, what it lacks to a cascade, and the end of the worker's log."""
        shown = {
            name: (one["status"], one["upstream_impact"], one["components"])
            for name, one in self.found.get("module_health", {}).items()
        }
        counts = (self.found.get("open_incidents"), self.found.get("firing_incidents"))
        wrong = list(unlike_a_cascade(self.found)) if self.found else []
        return f"{wrong}, {counts}, {self.found.get('cascades')}, {shown}, {self._worker.tail()}"


def of_status(found: dict[str, Any], *statuses: str) -> set[str]:
    return {name for name, one in found["module_health"].items() if one["status"] in statuses}


def asked(deployment: Deployment, at: ConsoleAt) -> dict[str, Any]:
    """Return what the shipped command says."""
    done = deployment.cli("query", "health", "--json", "--console", f"http://127.0.0.1:{at.port}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def unlike_a_cascade(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is not so: the origin is as bad as can be, those behind it have it from there."""
    modules = found["module_health"]
    origin = modules[ORIGIN]
    by_module = {one["module"]: one for one in found["cascades"]}
    steps = {(one["from_module"], one["to_module"]): one for one in found["dependency_graph"]}
    wanted = {
        "overall": found["overall_status"] == "UNHEALTHY",
        "origin": origin["status"] == "UNHEALTHY" and origin["upstream_impact"] < 0.5,
        "breaker": origin["components"]["circuit_breaker"]["status"] == "UNHEALTHY",
        "hurt": of_status(found, "DEGRADED", "UNHEALTHY") >= HURT,
        "impact": all(modules[name]["upstream_impact"] > 0 for name in HURT),
        "beside": not modules[BESIDE]["incident_ids"] and not modules[BESIDE]["upstream_impact"],
        "cascade": bool(by_module.keys() & HURT) and ORIGIN not in by_module,
        "into GAMMA": steps[ORIGIN, "GAMMA"]["status"] == "UNHEALTHY",
    }
    yield from (name for name, is_so in wanted.items() if not is_so)
    for name, one in by_module.items():
        path = one["path"]
        if one["from_module"] != ORIGIN or (path[0], path[-1]) != (ORIGIN, name):
            yield f"{name} has it from {path}"
        if not set(pairwise(path)) <= steps.keys():
            yield f"no such way: {path}"
        if not one["upstream_impact"] == modules[name]["upstream_impact"] >= 0.5:
            yield f"impact on {name}"


def test_a_fault_is_the_origins_and_not_of_those_that_suffer(deployment: Deployment) -> None:
    """It is degraded first, then bad, and hurts others; all is well again when it is over."""
    deployment.contract = "seed"
    deployment.create_topics()
    worker = deployment.worker(settings=SETTINGS)
    at = ConsoleAt(deployment)
    console = at.start("--contract", "seed", settings={})
    worker.wait_until_restored(1, "incidents", 120)
    at.wait_until_ready(console)
    look, telemetry = Look(at, worker), Telemetry(deployment.broker)

    def is_tripped(one: dict[str, Any]) -> bool:
        telemetry.trip()
        return ORIGIN in of_status(one, "DEGRADED", "UNHEALTHY")

    first = look.until(is_tripped)
    assert of_status(first, "UNHEALTHY") == set(), "the breaker closed again"
    assert first["overall_status"] == "DEGRADED"

    def is_cascade(one: dict[str, Any]) -> bool:
        telemetry.hurt()
        return not any(unlike_a_cascade(one)) and not any(unlike_a_cascade(asked(deployment, at)))

    look.until(is_cascade)
    telemetry.mend()

    def is_over(one: dict[str, Any]) -> bool:
        telemetry.go_on()
        return bool(one["overall_status"] == "HEALTHY" and not one["firing_incidents"])

    look.until(is_over)
    well = asked(deployment, at)
    assert of_status(well, "HEALTHY") == {ORIGIN, *HURT, "EPSILON", "PHI"}
    assert well["cascades"] == []
    assert {one["upstream_impact"] for one in well["module_health"].values()} == {0}
    # The breaker's alert ended and came back, so its incident stays open for minutes more.
    assert well["open_incidents"] > well["firing_incidents"] == 0
    for process in (worker, console):
        process.terminate()
        assert process.wait(60) == 0, process.tail()
