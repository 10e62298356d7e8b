"""A real Chromium, looking at a real console that reads what a real worker writes.

Owns the browser and the deployment of the whole session: one broker, one worker, one console, and a
pipeline that runs on while the tests look. What goes wrong in it is planted: acknowledgments are
lost, one trace has ten thousand spans, one event carries hostile text, one record is no event.
"""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.demo.run import Sender
from streams.simulate.faults import ACKNOWLEDGMENTS_LOST, Fault
from streams.simulate.pipeline import Simulation
from streams.units import SECOND_US
from tests.fault.harness import PROGRAM, Deployment, Feeder, WorkerProcess, wait_for
from tests.integration.conftest import broker, give_up
from tests.ports import free_port

__all__ = ["broker"]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
RECORDS_PER_SECOND = 12.0
LASTS_SECONDS = 3_600.0
"""Longer than all tests take: the pipeline is still alive when the last one looks."""
LOST_SECONDS = 40
BIG_SPANS = 10_000
BIG_TRACE = "b16" + "0" * 28 + "1"
HOSTILE_TRACE = "bad" + "0" * 28 + "1"
HOSTILE = '<img src=x onerror="document.title=1">'
TORN = b"\0\0"
"""No event: it is rejected."""
SETTINGS = {
    "window_seconds": 2,
    "burn_short_seconds": 10,
    "burn_long_seconds": 30,
    "quiet_seconds": 900,  # what opened stays open while the tests look
    "warm_up_seconds": 2,
    "incident_update_seconds": 1,
}
SEEN_MS_MAX = 120_000
"""How long anything may take to be seen: the machine may be busy with other tests."""
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@dataclass
class Stage:
    """What the browser looks at."""

    deployment: Deployment
    worker: WorkerProcess
    url: str

    def get(self, path: str) -> Any:
        """Return what a path of the interface answers; None while it does not."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=60) as found:
                return json.load(found)
        except (urllib.error.URLError, ConnectionError):
            return None


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        give_up(f"no browser: none of {', '.join(CHROMIUM)} (Debian: apt-get install chromium)")
    # As root, as in most containers, Chromium's own sandbox does not start.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=SEEN_MS_MAX)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@dataclass
class Looking:
    """A page, and what its browser complained of."""

    page: Page
    errors: list[str] = field(default_factory=list)
    is_asking_for_what_is_not_there: bool = False
    """A browser complains of each 404; a search by id asks several paths."""

    def hear(self, message: ConsoleMessage) -> None:
        """Keep what is an error."""
        is_absence = self.is_asking_for_what_is_not_there and "404" in message.text
        if message.type in ("error", "warning") and not is_absence:
            self.errors.append(f"{message.text} at {message.location}")


def look(browser: Browser, url: str, **options: Any) -> Looking:
    """Return a fresh page whose complaints are kept."""
    context = browser.new_context(base_url=url, **options)
    context.set_default_timeout(SEEN_MS_MAX)
    looking = Looking(context.new_page())
    looking.page.on("console", looking.hear)
    looking.page.on("pageerror", lambda error: looking.errors.append(str(error)))
    return looking


@pytest.fixture
def looking(chromium: Browser, stage: Stage) -> Iterator[Looking]:
    """Yield a page of 1280 by 900; fail when the browser complained."""
    found = look(chromium, stage.url, viewport={"width": 1280, "height": 900})
    yield found
    found.page.context.close()
    assert found.errors == []


@pytest.fixture
def page(looking: Looking) -> Page:
    """Return the page alone."""
    return looking.page


@pytest.fixture(scope="session")
def stage(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Yield the deployment, once all that was planted can be asked for."""
    deployment = Deployment(broker, tmp_path_factory.mktemp("stage"), "browser", contract="seed")
    deployment.delete_topics()
    deployment.create_topics()
    try:
        worker = deployment.worker(settings=SETTINGS)
        port = free_port()
        console = _console(deployment, port)
        found = Stage(deployment, worker, f"http://127.0.0.1:{port}")
        worker.wait_until_restored(1, "incidents", 120)
        sender = _pipeline(broker)
        sender.start()
        with Feeder(broker) as feeder:
            for event in (*_big(), _hostile()):
                feeder.send_bytes(
                    "telemetry.alpha.v1",
                    event["trace_id"].encode(),
                    encode("telemetry_event", event),
                )
            feeder.send_bytes("telemetry.alpha.v1", b"torn", TORN)
        wait_for(lambda: _is_set(found), 180, lambda: worker.tail() + console.tail(), worker)
        yield found
        sender.stopped.set()
        sender.join(30)
    finally:
        deployment.end()


def _console(deployment: Deployment, port: int) -> WorkerProcess:
    command = [sys.executable, *PROGRAM, "console", "--port", str(port)]
    command += ["--archive", str(deployment.folder / "archive")]
    console = WorkerProcess(command, deployment.environment, deployment.folder / "console")
    deployment.workers.append(console)
    wait_for(lambda: "ready console=" in console.out.read_text(), 60, console.tail, console)
    return console


def _pipeline(broker: str) -> Sender:
    start_us = time.time_ns() // 1_000 + SECOND_US
    lost = Fault(
        ACKNOWLEDGMENTS_LOST,
        "delivery>acknowledgment",
        start_us + 10 * SECOND_US,
        start_us + (10 + LOST_SECONDS) * SECOND_US,
        share=0.5,
    )
    contract = load_contract("seed")
    simulation = Simulation(contract, 5, start_us, LASTS_SECONDS, RECORDS_PER_SECOND, [lost])
    return Sender(simulation, broker)


def _is_set(stage: Stage) -> bool:
    """Whether the incident, the big trace, the hostile one and the rejected record are there."""
    incidents = (stage.get("incidents") or {}).get("incidents", [])
    rejected = (stage.get("rejected?start=2000-01-01&end=2100-01-01") or {}).get("rejected", [])
    traces = [stage.get(f"traces/{id_}") for id_ in (BIG_TRACE, HOSTILE_TRACE)]
    return bool(incidents and rejected and all(traces))


def span(trace_id: str, number: int, parent: int, **fields: Any) -> dict[str, Any]:
    """Return a span that begins now and `number` milliseconds later."""
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012x}",
        "trace_id": trace_id,
        "span_id": f"{number + 1:016x}",
        "parent_span_id": f"{parent + 1:016x}" if parent >= 0 else "",
        "timestamp": time.time_ns() // 1_000 + number * 1_000,
        "module": "ALPHA",
        "component": "bulk",
        "event_type": "TRACE",
        "severity": "INFO",
        "name": f"step {number}",
        "value": float("nan"),
        "unit": "",
        "dimensions": {},
        "record_id": "",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 900,
        "status": "OK",
        "span_kind": "INTERNAL",
        "trace_flags": 1,
        "links": [],
    } | fields


def _big() -> Iterator[dict[str, Any]]:
    for number in range(BIG_SPANS):
        yield span(BIG_TRACE, number, (number - 1) // 8 if number else -1)


def _hostile() -> dict[str, Any]:
    return span(
        HOSTILE_TRACE, 0, -1, name=HOSTILE, dimensions={HOSTILE: HOSTILE}, record_id=HOSTILE
    )
