"""A storm of incident events to receivers that are slow, failing or away: what arrives, and when.

Runs the shipped `spanloom notify run` on a real broker: one target a receiver, a `kill -9` in the
middle of the storm, and an outage. Every event is read back from what the receivers took, so lost
and repeated are counted and not estimated. The storm is a function of the seed; times are not.

    python -m benchmarks.incidents.delivery --json delivery.json --seconds 30
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

from benchmarks.cases.lab import open_lab, say
from tests.integration.notifying import Notifying
from tests.notify_events import incident
from tests.ports import free_port

DRAIN_SECONDS: Final = 180.0
KILLED_AT: Final = 0.5
AWAY: Final = (0.3, 0.7)
"""When the receiver that goes away is away, in shares of the storm."""


@dataclass
class Receiver:
    """A receiver with a habit.

    Attributes:
        name: of its target.
        habit: in words.
        delay_seconds: before each answer.
        failing_ratio: share of requests answered 503 and not taken.
        forgetting_ratio: share of requests that it takes and answers 503 all the same: each of
            them it must be told again, so each makes a repeat that nobody can avoid.
        took: (arrival, id) of all it took.
        forgot: how many it took and denied.
    """

    name: str
    habit: str
    delay_seconds: float = 0.0
    failing_ratio: float = 0.0
    forgetting_ratio: float = 0.0
    took: list[tuple[float, str]] = field(default_factory=list)
    forgot: int = 0
    port: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    _server: ThreadingHTTPServer | None = None
    _lock: Lock = field(default_factory=Lock)

    def up(self) -> None:
        """Listen, on the same port each time."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver._server is None:  # a connection from before it went away
                    self.close_connection = True
                    return
                self.send_response(receiver.answer(json.loads(body)["id"]))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: the other side was killed."""

        if not self.port:
            self.port = free_port()
        self._server = Server(("127.0.0.1", self.port), Handler)
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, id_: str) -> int:
        """Return the status of an answer, and keep what is taken."""
        time.sleep(self.delay_seconds)
        with self._lock:
            roll = self.chance.random()
            if roll < self.failing_ratio:
                return 503
            self.took.append((time.time(), id_))
            if roll < self.failing_ratio + self.forgetting_ratio:
                self.forgot += 1
                return 503
            return 200

    def target(self) -> dict[str, Any]:
        """Return it as the file of targets names it."""
        return {
            "id": self.name, "kind": "webhook", "url": f"http://127.0.0.1:{self.port}/",
            "allow_plain_http": True, "backoff_seconds": 0.5, "backoff_seconds_max": 5.0,
        }  # fmt: skip


def receivers(seed: int) -> list[Receiver]:
    """Return one receiver of each habit."""
    made = [
        Receiver("well", "answers at once"),
        Receiver("slow", "answers after 0.2 s", delay_seconds=0.2),
        Receiver("failing", "answers every third request with 503", failing_ratio=0.33),
        Receiver("forgetful", "takes 5 % and answers 503 all the same", forgetting_ratio=0.05),
        Receiver("away", f"is away from {AWAY[0]:.0%} to {AWAY[1]:.0%} of the storm"),
    ]
    for number, one in enumerate(made):
        one.chance = random.Random(f"{seed}|{number}")
    return made


def storm(seed: int, count: int) -> list[dict[str, Any]]:
    """Return events of incidents that open, change and end, shuffled into each other."""
    chance = random.Random(seed)
    open_: list[tuple[str, int]] = []
    events: list[dict[str, Any]] = []
    number = 0
    while len(events) < count:
        roll = chance.random()
        if not open_ or roll < 0.35:
            number += 1
            id_ = f"{seed & 0xFFFF:04x}{number:028x}"
            open_.append((id_, 1))
            events.append(incident(id_, 1))
            continue
        at = chance.randrange(len(open_))
        id_, version = open_[at]
        is_over = roll > 0.7
        events.append(incident(id_, version + 1, "RESOLVED" if is_over else "UPDATED"))
        open_[at] = (id_, version + 1)
        if is_over:
            del open_[at]
    return events


def run(
    path: Path | None = None,
    *,
    broker: str = "",
    seed: int = 7,
    seconds: float = 30.0,
    events_per_second: float = 10.0,
) -> dict[str, Any]:
    """Return what each receiver was told of a storm.

    Args:
        path: folder for the process' logs; None for one that is deleted. No data is read: the
            storm is made from the seed.
        broker: bootstrap address; "" for a broker of its own.
        seed: decides the storm, and what failing receivers refuse.
        seconds: how long it lasts.
        events_per_second: of the storm.
    """
    with open_lab(broker, {}) as lab, tempfile.TemporaryDirectory() as folder:
        notifying = Notifying(lab.broker, f"bench-{seed}-{time.time_ns()}.", Path(path or folder))
        told = receivers(seed)
        for one in told:
            one.up()
        try:
            written = _blow(notifying, told, storm(seed, int(seconds * events_per_second)), seconds)
            _drain(told, written)
        finally:
            notifying.end()
            for one in told:
                one.down()
    cases = [_case(one, written) for one in told]
    return {"cases": cases, "totals": _totals(cases, written)}


def _blow(
    notifying: Notifying, told: Sequence[Receiver], events: list[dict[str, Any]], seconds: float
) -> dict[str, float]:
    """Write the storm at its pace, and do what is done meanwhile; return when each was written."""
    config = notifying.config(*(one.target() for one in told))
    process = notifying.start(config)
    (away,) = (one for one in told if one.name == "away")
    plan: list[tuple[float, Any]] = [
        (AWAY[0] * seconds, away.down),
        (KILLED_AT * seconds, process.kill),
        (KILLED_AT * seconds, lambda: notifying.start(config, is_ready=False)),
        (AWAY[1] * seconds, away.up),
    ]
    written: dict[str, float] = {}
    began = time.monotonic()
    for number, event in enumerate(events):
        at = number * seconds / len(events)
        while plan and plan[0][0] <= at:
            say(f"{at:.0f} s into the storm: step {5 - len(plan)} of 4")
            plan.pop(0)[1]()
        time.sleep(max(0.0, began + at - time.monotonic()))
        notifying.write(event)
        written[f"{event['incident_id']}-{event['version']}"] = time.time()
    for _, step in plan:
        step()
    return written


def _drain(told: Sequence[Receiver], written: Mapping[str, float]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if all({id_ for _, id_ in list(one.took)} >= set(written) for one in told):
            return
        time.sleep(0.2)


def _case(one: Receiver, written: Mapping[str, float]) -> dict[str, Any]:
    first: dict[str, float] = {}
    for at, id_ in one.took:
        first.setdefault(id_, at)
    late = sorted(first[id_] - written[id_] for id_ in first if id_ in written)
    counts = Counter(id_ for _, id_ in one.took)
    repeats = sum(counts.values()) - len(counts)
    return {
        "id": one.name,
        "kind": one.habit,
        "events": len(written),
        "delivered": len(first),
        "lost": len(written.keys() - first.keys()),
        "duplicates": repeats,
        "duplicates_owed_to_receiver": one.forgot,
        "out_of_order": _out_of_order(first),
        "p50_s": _quantile(late, 0.50),
        "p99_s": _quantile(late, 0.99),
        "max_s": _quantile(late, 1.0),
    }


def _out_of_order(first: Mapping[str, float]) -> int:
    """Return how many versions came for the first time after a later one of their incident."""
    highest: dict[str, int] = {}
    count = 0
    for id_ in first:
        name, _, version = id_.rpartition("-")
        count += int(version) < highest.get(name, 0)
        highest[name] = max(highest.get(name, 0), int(version))
    return count


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank quantile of sorted values, seconds; None of nothing."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def _totals(cases: Sequence[Mapping[str, Any]], written: Mapping[str, float]) -> dict[str, Any]:
    lost, disorder = (sum(case[name] for case in cases) for name in ("lost", "out_of_order"))
    well = next(case for case in cases if case["id"] == "well")
    return {
        "cases": len(cases),
        "events": len(written),
        "delivered": sum(case["delivered"] for case in cases),
        "lost": lost,
        "duplicates": sum(case["duplicates"] for case in cases),
        "duplicates_owed_to_receivers": sum(c["duplicates_owed_to_receiver"] for c in cases),
        "out_of_order": disorder,
        "passed": not lost and not disorder,
        "kills": 1,
        "p99_well_s": well["p99_s"],
    }


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report as lines for people."""
    yield f"{'receiver':<10} {'events':>6} {'lost':>5} {'twice':>6} {'p50 s':>7} {'p99 s':>7}"
    for case in report["cases"]:
        yield (
            f"{case['id']:<10} {case['events']:>6} {case['lost']:>5} {case['duplicates']:>6} "
            f"{case['p50_s'] or 0:>7.2f} {case['p99_s'] or 0:>7.2f}  {case['kind']}"
        )


def main() -> int:
    """Run it from the command line; 1 when an event was lost or came out of order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--path", type=Path, default=None, help="folder for the logs")
    parser.add_argument("--broker", default="", help="HOST:PORT; else one of its own")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--events-per-second", type=float, default=10.0)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    report = run(
        given.path,
        broker=given.broker,
        seed=given.seed,
        seconds=given.seconds,
        events_per_second=given.events_per_second,
    )
    for line in table(report):
        print(line)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if report["totals"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
