"""How many alerts the incident task takes on one core, and how long each waits for its event.

Three questions: 100,000 alert states a minute over many incidents (the pure task, and the task in
its runner with decoding, encoding and the bytes of its state); 10,000 open alerts in one incident,
with the time of a step early and late; and what a cut then writes. Alerts are sent as they would
come: a step takes what has arrived since the last one. CPU time of this process is what counts, so
a busy machine changes the wall figures alone.

Run: python -m benchmarks.incidents.load [--seconds 60] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.commands import read_command
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.engine.incidents import IncidentTask
from streams.runtime.chunk import Chunk
from streams.runtime.keyed_runner import KeyedRunner
from streams.state.segment import encode_pieces
from streams.units import MINUTE_US, SECOND_US
from tests.record_batches import batch

RATE = 100_000 / 60
"""Alert states a second."""
STEP_S = 0.05
CUT_S = 0.2
EPOCH_US = 1_700_000_000 * SECOND_US
MODULES = 1_600
SETTINGS = IncidentSettings.matching(
    MergeSettings(), 2 * MINUTE_US, hold_us=SECOND_US, update_us=30 * SECOND_US
)
TOPOLOGY = Topology(
    modules={f"M{i}": ModuleInfo(f"team-{i}", depends_on=(f"M{i - 1}",) if i % 4 else ())
             for i in range(MODULES)},
    edges=tuple(
        Edge("flow", f"stage{i}", f"stage{i + 1}") for i in range(MODULES - 1) if (i + 1) % 4
    ),
    stage_module={Place("flow", f"stage{i}"): f"M{i}" for i in range(MODULES)},
)  # fmt: skip
Alert = dict[str, Any]


def alert(number: int, version: int, at_us: int, module: int, shared: int = 0) -> Alert:
    """Return a state of alert `number`, one of many at a module; some share traces."""
    ids = [f"{shared * 1_000 + i:032x}" for i in range(5)] if shared else []
    return {
        "fingerprint": f"{number:032x}",
        "version": version,
        "kind": "metric_threshold",
        "state": "FIRING",
        "severity": "ERROR",
        "flow": "",
        "module": f"M{module}",
        "component": f"pod-{number}",
        "from_stage": "",
        "to_stage": "",
        "name": f"pipeline.m{module}.pod-{number}.gauge.lag",
        "firing_since": at_us - version * SECOND_US,
        "last_seen": at_us,
        "count": version,
        "value": 0.4,
        "threshold": 0.1,
        "unit": "ratio",
        "explanation": "The lag of this pod is 0.4, more than 0.1, for three windows.",
        "trace_ids": ids,
        "record_ids": [],
        "batch_ids": [],
        "contract_version": "1",
    }


def minute(seconds: float, alerts: int, modules: int) -> list[list[Alert]]:
    """Return what each step takes: states of so many alerts, spread over modules, in turn.

    A window of a tenth of the alerts moves over all of them, so that incidents open all the time.
    """
    steps = round(seconds / STEP_S)
    per_step = RATE * STEP_S
    versions = [0] * alerts
    began_us = [0] * alerts
    found: list[list[Alert]] = []
    sent = 0
    for step in range(steps):
        until = round((step + 1) * per_step)
        at_us = EPOCH_US + round(step * STEP_S * SECOND_US)
        chunk = []
        for number in range(sent, until):
            part = max(1, alerts // 10)
            one = (number * alerts // round(seconds * RATE) // part * part + number % part) % alerts
            versions[one] += 1
            began_us[one] = began_us[one] or at_us
            state = alert(one, versions[one], at_us, one * modules // alerts)
            chunk.append(state | {"firing_since": began_us[one] - SECOND_US})
        sent = until
        found.append(chunk)
    return found


class Watch:
    """How long alerts wait, on the clock of the feed.

    A step begins when its alerts have come, or when the step before has ended, whichever is later:
    so a task that is too slow falls behind, as it would. Two waits count: of every alert state
    until the task has taken it in, and of an incident's first alert until the incident is told.
    What joins later is told with its next event, at most every `incident_update_seconds`.
    """

    def __init__(self) -> None:
        self.free_s = 0.0
        self.cpu_s = 0.0
        self.step_s: list[float] = []
        self.taken_s: list[float] = []
        self.opened_s: list[float] = []
        self._came: dict[str, float] = {}

    def take(
        self, came_s: float, chunk: Sequence[Alert], work: Callable[[float], list[list[str]]]
    ) -> None:
        """Let a step work; it returns the alerts of each incident that it opened."""
        for one in chunk:
            self._came.setdefault(one["fingerprint"], came_s)
        begins_s = max(came_s, self.free_s)
        cpu = time.process_time()
        opened = work(begins_s)
        took = time.process_time() - cpu
        self.cpu_s += took
        self.step_s.append(took)
        self.free_s = begins_s + took
        self.taken_s += [self.free_s - came_s] * len(chunk)
        for prints in opened:
            self.opened_s.append(self.free_s - min(self._came[print_] for print_ in prints))

    def figures(self) -> dict[str, float]:
        """Return the quantiles of the waits and of the steps."""
        taken, opened, steps = sorted(self.taken_s), sorted(self.opened_s), sorted(self.step_s)
        return {
            "cpu_s": round(self.cpu_s, 2),
            "step_p50_ms": _ms(steps, 0.5),
            "step_p99_ms": _ms(steps, 0.99),
            "step_max_ms": _ms(steps, 1.0),
            "behind_s": round(max(0.0, self.free_s - len(self.step_s) * STEP_S), 2),
            "taken_p99_s": round(_at(taken, 0.99), 3),
            "opened": float(len(opened)),
            "opened_p50_s": round(_at(opened, 0.5), 3),
            "opened_p99_s": round(_at(opened, 0.99), 3),
        }


def _at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, round(share * len(values)))] if values else float("nan")


def _ms(values: Sequence[float], share: float) -> float:
    return round(1_000 * _at(values, share), 2)


def prints_of(task: IncidentTask, incident_id: str) -> list[str]:
    """Return the alerts of an open incident, [] when it is over already."""
    incident = task.book.open.get(incident_id)
    return list(incident.members) if incident is not None else []


def pure(
    chunks: Sequence[Sequence[Alert]], settings: IncidentSettings = SETTINGS
) -> dict[str, Any]:
    """Run the pure task."""
    task = IncidentTask(settings, TOPOLOGY)
    watch = Watch()
    events = 0

    def step(at_s: float, chunk: Sequence[Alert]) -> list[list[str]]:
        nonlocal events
        outputs = task.step(chunk, EPOCH_US + round(at_s * SECOND_US), True)
        told = [o.record for o in outputs if o.topic_kind == "incidents"]
        events += len(told)
        return [prints_of(task, e["incident_id"]) for e in told if e["event"] == "OPENED"]

    for number, chunk in enumerate(chunks):
        came_s = (number + 1) * STEP_S
        watch.take(came_s, chunk, partial(step, chunk=chunk))
    return watch.figures() | {
        "alerts": sum(map(len, chunks)),
        "events": events,
        "incidents": len(task.book.open),
        "largest": max((len(i.members) for i in task.book.open.values()), default=0),
    }


def through_runner(chunks: Sequence[Sequence[Alert]]) -> dict[str, Any]:
    """Run the task in its runner: values decoded, events encoded, and a cut's bytes made."""
    runner = KeyedRunner(
        IncidentTask(SETTINGS, TOPOLOGY),
        lambda snapshot: IncidentTask.restore(SETTINGS, TOPOLOGY, snapshot),
        {
            "incidents": ("incidents.events.v1", "incident_event", 0),
            "audit": ("incidents.audit.v1", "telemetry_event", 0),
            "ledger": ("incidents.ledger.v1", "noise_ledger", 0),
        },
        {"incidents.commands.v1": read_command},
    )
    watch = Watch()
    offset = cuts = largest = written = cut_max = 0
    every = round(CUT_S / STEP_S)
    for number, chunk in enumerate(chunks):
        values = [encode("alert", one) for one in chunk]
        records = [Record(offset + i, 0, None, value) for i, value in enumerate(values)]
        end = offset + len(records)
        found = [Chunk("alerts.raised.v1", 0, offset, end, [batch(records)])] if records else []
        offset = end

        def step(at_s: float, found: list[Chunk] = found, number: int = number) -> list[list[str]]:
            nonlocal cuts, largest, written, cut_max
            runner.step(found, {"alerts.raised.v1": 1}, EPOCH_US + round(at_s * SECOND_US))
            if (number + 1) % every:
                return []
            outputs, segment = runner.collect(number)
            pieces = encode_pieces(segment, 1, cuts)
            cuts += 1
            sizes = [len(piece) for piece in pieces]
            largest, written = max(largest, *sizes), written + sum(sizes)
            cut_max = max(cut_max, sum(sizes))
            told = [decode(o.value) for o in outputs if o.topic == "incidents.events.v1"]
            ids = [e["incident_id"] for e in told if e["event"] == "OPENED"]
            return [prints_of(runner.task, id_) for id_ in ids]

        watch.take((number + 1) * STEP_S, chunk, step)
    return watch.figures() | {
        "alerts": sum(map(len, chunks)),
        "cuts": cuts,
        "state_mb": round(written / 1e6, 1),
        "piece_max_kb": round(largest / 1e3, 1),
        "cut_max_kb": round(cut_max / 1e3, 1),
    }


def one_incident(alerts: int = 10_000) -> dict[str, Any]:
    """Let so many alerts join one incident, 20 a step; hold the last steps against the first."""
    task = IncidentTask(SETTINGS, TOPOLOGY)
    times = []
    for start in range(0, alerts, 20):
        at_us = EPOCH_US + start * 1_000
        chunk = [alert(n, 1, at_us, 0) | {"component": "pool"} for n in range(start, start + 20)]
        cpu = time.process_time()
        task.step(chunk, at_us, True)
        times.append(time.process_time() - cpu)
    again = []
    for start in range(0, 2_000, 20):
        at_us = EPOCH_US + (alerts + start) * 1_000
        same = {"component": "pool", "firing_since": EPOCH_US + start * 1_000 - SECOND_US}
        chunk = [alert(n, 2, at_us, 0) | same for n in range(start, start + 20)]
        cpu = time.process_time()
        task.step(chunk, at_us, True)
        again.append(time.process_time() - cpu)
    early, late = times[len(times) // 10 : len(times) // 5], times[-len(times) // 10 :]
    (incident,) = task.book.open.values()
    return {
        "alerts": len(incident.members),
        "step_early_ms": _ms(sorted(early), 0.5),
        "step_late_ms": _ms(sorted(late), 0.5),
        "step_update_ms": _ms(sorted(again), 0.5),
        "step_max_ms": _ms(sorted(times + again), 1.0),
        "relations_left_out": task.counters()["relation_over_bound"],
    }


def run(path: Path | None = None, seconds: float = 60) -> dict[str, Any]:
    """Return the figures of the set `load`.

    Args:
        path: not used: the load is made here.
        seconds: how long alerts come, at 100,000 states a minute.
    """
    del path
    many = pure(minute(seconds, 5_000, MODULES))
    storm = pure(minute(seconds, 10_000, 1))
    runner = through_runner(minute(seconds, 5_000, MODULES))
    alone = one_incident()
    good = [
        many["opened_p99_s"] < 2,
        runner["opened_p99_s"] < 2,
        runner["taken_p99_s"] < 2,
        alone["alerts"] == 10_000,
    ]
    return {
        "cases": [
            {"id": "many incidents", "kind": "load", **many},
            {"id": "one incident", "kind": "load", **storm},
            {"id": "many incidents, through the runner", "kind": "load", **runner},
            {"id": "10,000 alerts join one incident", "kind": "load", **alone},
        ],
        "totals": {"cases": 4, "alerts": many["alerts"], "passed": all(good)},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = run(seconds=given.seconds)
    for case in found["cases"]:
        print(json.dumps(case))
    print(json.dumps(found["totals"]))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2), "utf-8")
