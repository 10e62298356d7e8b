"""One demonstration from start to verdict: embedded broker, worker, simulator, report."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, Producer

from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.demo.page import Page
from streams.demo.watcher import Watcher
from streams.errors import BrokerError, StateError
from streams.runtime.build import load_pipeline
from streams.runtime.clock import wall_us
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import open_client
from streams.settings import WorkerSettings, load_settings
from streams.simulate.pipeline import Simulation
from streams.simulate.plan import plan_faults
from streams.simulate.publish import Publisher
from streams.simulate.report import build_report
from streams.units import SECOND_US

if TYPE_CHECKING:
    from streams.runtime.worker import Worker

WINDOW_SECONDS: Final = 1.0
BURN_SECONDS: Final = (5.0, 30.0)
SETTLE_SECONDS_MAX: Final = 300.0
"""How long the engine may take after the last event to close, publish and resolve all, ..."""
STUCK_SECONDS_MAX: Final = 45.0
"""... and how long nothing may change meanwhile: on a busy machine it is slow, not stuck."""
QUIET_SECONDS: Final = 4.0
SHOW_SECONDS: Final = 0.25
LEAD_US: Final = SECOND_US
"""The pipeline starts this long after the worker is ready."""


@dataclass
class Scene:
    """What the live view may look at while the demonstration runs.

    Attributes:
        worker: the engine.
        watcher: what came out of it.
        simulation: the pipeline.
        ends_us: when the pipeline stops sending.
        page: the console that shows it all.
    """

    worker: "Worker"
    watcher: Watcher
    simulation: Simulation
    ends_us: int
    page: Page


def settings_for(broker: str, folder: Path, contract: str) -> WorkerSettings:
    """Return the worker's settings: as in production, but for windows made for a minute's run."""
    return load_settings(
        broker=broker,
        group="demo",
        state_dir=folder,
        contract=contract,
        embedded=True,
        window_seconds=WINDOW_SECONDS,
        burn_short_seconds=BURN_SECONDS[0],
        burn_long_seconds=BURN_SECONDS[1],
        quiet_seconds=QUIET_SECONDS,
        warm_up_seconds=2.0,
        cut_interval_seconds=0.2,
        exit_after=0,
    )


class Sender(threading.Thread):
    """Publishes the simulation in step with the clock, in a thread of its own."""

    def __init__(self, simulation: Simulation, broker: str) -> None:
        super().__init__(name="spanloom-pipeline", daemon=True)
        self.error: str = ""
        self.stopped = threading.Event()
        self._producer = open_client(
            Producer,
            {
                "bootstrap.servers": broker,
                "partitioner": "murmur2_random",
                "linger.ms": 10,
                "log_level": 0,
            },
        )
        self._publisher = Publisher(
            simulation, lambda event: encode("telemetry_event", dict(event)), self._produce
        )

    def _produce(self, topic: str, key: bytes, value: bytes, timestamp_us: int) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, value, key, timestamp=timestamp_us // 1000, on_delivery=self._delivered
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.error = error.str()

    def run(self) -> None:
        """Send until the simulation is drained."""
        self._publisher.run(wall_us, time.sleep, is_stopped=self.stopped.is_set)
        if self._producer.flush(20):
            self.error = self.error or "events were not acknowledged"


def run_demo(
    seconds: float,
    seed: int,
    contract: str,
    show: Callable[[Scene], None],
    page_port: int = 0,
    finish: Callable[[dict[str, Any], Page, bool], None] = lambda *_: None,
) -> dict[str, Any]:
    """Run a demonstration and return its report.

    Args:
        seconds: how long the pipeline sends.
        seed: decides records, noise and faults.
        contract: path of the contract, or "seed".
        show: called every `SHOW_SECONDS` while it runs.
        page_port: where a console shows it; 0 for none.
        finish: called with the report while the page is still there, and with whether a signal
            ended the engine before its time.

    Raises:
        SpanloomError: the engine or the broker failed; no report.
    """
    with tempfile.TemporaryDirectory(prefix="spanloom-demo-") as folder, EmbeddedBroker() as broker:
        settings = settings_for(broker.address, Path(folder), contract)
        with Page(broker.address, contract, page_port) as page:
            report, was_stopped = asyncio.run(_run(settings, seconds, seed, show, page))
            page.close_orders()
            finish(report, page, was_stopped)
            return report


async def _run(
    settings: WorkerSettings,
    seconds: float,
    seed: int,
    show: Callable[[Scene], None],
    page: Page,
) -> tuple[dict[str, Any], bool]:
    """Return the report, and whether a signal ended the engine before it was asked to end."""
    # Faust takes a second to import: no other command shall pay for it.
    from streams.runtime.worker import Worker

    contract = load_contract(settings.contract)
    worker = Worker(load_pipeline(settings))
    worker.prepare()
    watcher = Watcher(settings.broker, round(WINDOW_SECONDS * SECOND_US))
    ready = asyncio.Event()
    engine = asyncio.create_task(worker.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({waiting, engine}, return_when=asyncio.FIRST_COMPLETED)
    if engine.done():
        engine.result()
    while not worker.hosts and not engine.done():
        await asyncio.sleep(0.05)
    watcher.start()
    start_us = wall_us() + LEAD_US
    faults = plan_faults(seed, seconds, contract, start_us)
    simulation = Simulation(contract, seed, start_us, seconds, faults=faults)
    sender = Sender(simulation, settings.broker)
    scene = Scene(worker, watcher, simulation, start_us + round(seconds * SECOND_US), page)
    began = time.monotonic()
    sender.start()
    try:
        while sender.is_alive() and not engine.done():
            show(scene)
            await asyncio.sleep(SHOW_SECONDS)
        if not engine.done():
            await _settle(scene, engine, show)
        elapsed_s = time.monotonic() - began
        accounting = worker.accounting()
        lost = sum(host.lost_to_retention for host in worker.hosts.values())
        was_stopped = engine.done()
    finally:
        sender.stopped.set()
        worker.stop()
        await asyncio.gather(engine, return_exceptions=True)
        watcher.stop()
    engine.result()
    if sender.error:
        raise BrokerError(
            f"the simulator could not send: {sender.error}. Operator action: run it again."
        )
    if watcher.error is not None:
        raise StateError(
            f"the derived topics could not be read: {watcher.error!r}. Operator action: none."
        )
    show(scene)
    report = build_report(
        simulation.truth.as_dict(),
        faults,
        accounting,
        watcher.edges(),
        watcher.incidents(),
        elapsed_s,
    )
    told = {"linked_traces": watcher.linked(), "lost_to_retention": lost}
    return report | told, was_stopped


async def _settle(
    scene: Scene, engine: "asyncio.Task[None]", show: Callable[[Scene], None]
) -> None:
    """Wait until all events are joined, all windows published and no incident is open."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    produced = scene.simulation.truth.as_dict()["produced"]["events"]
    quiet_since = time.monotonic()
    before: object = None
    while time.monotonic() < deadline and not engine.done():
        show(scene)
        await asyncio.sleep(SHOW_SECONDS)
        accounting = scene.worker.accounting()
        edges = scene.watcher.edges()
        incidents = scene.watcher.incidents()
        now = (accounting, edges, [(i["incident_id"], i["version"]) for i in incidents])
        if now != before:
            before, quiet_since = now, time.monotonic()
        done = accounting.get("accepted", 0) >= produced and accounting.get("open") == 0
        resolved = all(i["event"] == "RESOLVED" for i in incidents)
        waited = time.monotonic() - quiet_since
        if waited > STUCK_SECONDS_MAX:
            return
        if done and waited > (2.0 if resolved else QUIET_SECONDS + 8.0):
            return
