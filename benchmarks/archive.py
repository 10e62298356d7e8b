"""How fast does the console's archive fill, how large is it, and how long does a look-up take?

Fills an archive with N entries, at 600 a second of event time (50 million are a day) or at another
rate, for files are written each minute and small where little comes: traces of eight spans, and for
each an audit entry and a metric point. They go through the real decode, files and merges; Kafka
alone is left out. Then ids are looked up and questions asked, each a few times.

`python -m benchmarks.archive [--entries N] [--rate N] [--json FILE] [--folder DIR] [--personal]
[--fill-only]`; without a folder the archive is removed at the end. A folder that holds one already
is only asked.
"""

import argparse
import json
import os
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.archive_events import ENTRIES, RATE, START_US, TELEMETRY, Source
from benchmarks.arguments import report_file
from benchmarks.cases.lab import say
from benchmarks.decode import STAGES
from streams.console.archive.archive import Archive
from streams.console.archive.kinds import KIND
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.paths.audit import AuditQuery, TimeRange, wanted
from streams.console.personal import as_asked
from streams.console.process import COLLECT_EVERY
from streams.console.questions.audit import audit
from streams.console.questions.history import history, record_lineage
from streams.console.questions.queries import Queries
from streams.console.times import iso
from streams.contract.loader import load_contract
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.runtime.heap import bound_heap, collect_seldom
from streams.units import SECOND_US

TRACES: Final = 1_500
"""Made at a time, with what lies beside them; the console takes up to 5,000 records."""
AHEAD: Final = 40
"""So many batches are made before they are taken in."""
ASKED: Final = 50
"""Look-ups of each column."""
AUDITS: Final = 7
"""Questions of each filter."""
TELL_SECONDS: Final = 10.0
"""Between two lines about how far the filling has come: a day of entries takes half an hour."""
MEMORY_BYTES: Final = 1 << 30
THREADS: Final = 2


class EventClock:
    """Seconds as the events tell them: a file is written after so many of theirs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def fill(
    folder: Path, entries: int, privacy: Privacy | None = None, rate: int = RATE
) -> tuple[Archive, dict[str, Any]]:
    """Fill an archive, and return it with what that took."""
    clock = EventClock()
    archive = Archive(
        Store(str(folder)), Limits(), telemetry=TELEMETRY, clock=clock, privacy=privacy
    )
    cpu = {"ingest": 0.0, "merge": 0.0}
    wall = dict(cpu)
    with archive.writing_beside():
        _fill(archive, clock, entries, rate, partial(Timed, cpu, wall))
    clock.now += 86_400
    archive.merge(START_US)  # removes what was merged
    return archive, {
        "ingest_cpu_s": cpu["ingest"],
        "ingest_wall_s": wall["ingest"],
        "merge_cpu_s": cpu["merge"],
        "wall_s": sum(wall.values()),
        "ingest_entries_per_s": entries / wall["ingest"],
        "ingest_entries_per_cpu_s": entries / cpu["ingest"],
        "ingest_and_merge_entries_per_cpu_s": entries / sum(cpu.values()),
    }


def _fill(
    archive: Archive, clock: EventClock, entries: int, rate: int, timed: Callable[[str], "Timed"]
) -> None:
    """Fill it, many batches in a row: the thread that writes files has nobody's time but theirs."""
    source = Source(rate=rate)
    minute = 0
    told = time.monotonic()
    traces = entries // ENTRIES
    for first in range(0, traces, AHEAD * TRACES):
        begins = range(first, min(first + AHEAD * TRACES, traces), TRACES)
        batches = [source.messages(min(TRACES, traces - begin)) for begin in begins]
        for begin, messages in zip(begins, batches, strict=True):
            clock.now = begin * ENTRIES / rate
            with timed("ingest"):
                archive.take(*messages)
                archive.write_due()
            if clock.now // 60 > minute:
                minute = int(clock.now // 60)
                with timed("ingest"):
                    archive.settle()
                with timed("merge"):
                    archive.merge(START_US + int(clock.now * SECOND_US))
        with timed("ingest"):
            archive.settle()
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            say(f"  {first * ENTRIES:,} of {entries:,} entries")
    with timed("ingest"):
        archive.write_due(all_of_it=True)
    clock.now += 86_400
    with timed("merge"):
        archive.merge(START_US + int(clock.now * SECOND_US))


class Timed:
    """Adds the CPU and wall seconds of a block."""

    def __init__(self, cpu: dict[str, float], wall: dict[str, float], name: str) -> None:
        self._cpu, self._wall, self._name = cpu, wall, name

    def __enter__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._cpu[self._name] += time.process_time() - self._began[0]
        self._wall[self._name] += time.perf_counter() - self._began[1]


def sizes(folder: Path, archive: Archive) -> dict[str, Any]:
    """Return what lies on the disk, by kind."""
    found: dict[str, Any] = {}
    for kind in ("traces", "spans", "events"):
        files = list((folder / kind).rglob("*.parquet"))
        rows = archive.dataset(archive.look(kind).files, KIND[kind].schema).count_rows()
        found[kind] = {
            "rows": rows,
            "files": len(files),
            "bytes": sum(file.stat().st_size for file in files),
            "ids_bytes": sum(file.stat().st_size for file in (folder / kind).rglob("*.ids")),
        }
    return found


def timed(ask: Callable[[Any], Any], of: Iterable[Any]) -> dict[str, float]:
    """Ask for each, and return how long that took; an answer of nothing ends the run.

    CPU time too, of all threads: on a machine that does other work it is what can be compared.
    """
    took, cpu = [], []
    for one in of:
        began = time.perf_counter(), time.process_time()
        if not ask(one):
            raise SystemExit(f"archive: nothing found for {one}")
        took.append((time.perf_counter() - began[0]) * 1e3)
        cpu.append((time.process_time() - began[1]) * 1e3)
    p50, p95 = np.percentile(took, [50, 95])
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "first_ms": took[0],
        "cpu_p95_ms": round(float(np.percentile(cpu, 95)), 2),
    }


def ask(archive: Archive, traces: int, rate: int = RATE) -> dict[str, Any]:
    """Time look-ups by each column of ids, and the questions of `Queries`."""
    chance = random.Random(1)
    some = sorted(chance.sample(range(traces), min(ASKED, traces)))
    chance.shuffle(some)
    found: dict[str, Any] = {}
    by_record = {n: {"record_id": [f"rec-{n:08d}"]} for n in some}
    trace_ids = [
        archive.look("spans", ids=ids).tail["trace_id"][0].as_py() for ids in by_record.values()
    ]
    asked = {
        ("spans", "trace_id"): trace_ids,
        ("spans", "record_id"): [f"rec-{n:08d}" for n in some],
        ("spans", "batch_id"): [f"bat-{n // 100:08d}" for n in some],
        ("spans", "correlation_id"): [f"cor-{n // 3:08d}" for n in some],
        ("events", "record_id"): [f"rec-{n:08d}" for n in some],
        ("traces", "trace_id"): trace_ids,
        ("traces", "record_ids"): [f"rec-{n:08d}" for n in some],
    }
    for (kind, column), values in asked.items():

        def look(value: str, kind: str = kind, column: str = column) -> int:
            return len(archive.look(kind, ids={column: [value]}).tail)

        found[f"look {kind}.{column}"] = timed(look, values)
    queries = Queries(archive, MEMORY_BYTES, THREADS)
    span_us = traces * ENTRIES * SECOND_US // rate
    starts = [START_US + int(chance.random() * span_us * 0.9) for _ in range(ASKED // 5)]
    hour_us = 3_600 * SECOND_US
    found["query trace"] = timed(queries.trace, trace_ids[: ASKED // 5])
    found["query traces of an hour"] = timed(
        lambda at: queries.traces(at, at + hour_us, [], 100, "").rows, starts
    )
    found["query traces of a record"] = timed(
        lambda n: queries.traces_of_record(f"rec-{n:08d}", 100), some[: ASKED // 5]
    )
    return found


FILTERS: Final[dict[str, dict[str, Any]]] = {
    "all": {},
    "modules": {"modules": ["BETA"]},
    "event_types": {"event_types": ["AUDIT"]},
    "severity_minimum": {"severity_minimum": "INFO", "modules": ["GAMMA"]},
    "actor": {"actor": "svc-beta"},
    "component": {"component": STAGES[2][1]},
    "operation": {"operation": "TRANSFORM", "event_types": ["AUDIT"]},
    "correlation_id": {"correlation_id": "cor-{third:08d}"},
    "batch_id": {"batch_id": "bat-{hundredth:08d}"},
    "record_ids": {"record_ids": ["rec-{number:08d}"]},
}
"""Of the audit query: each alone, or with what makes it meet something."""


def ask_audit(
    archive: Archive, traces: int, privacy: Privacy | None = None, rate: int = RATE
) -> dict[str, Any]:
    """Time the audit query by each filter over all that there is, and lineage of a record."""
    queries = Queries(archive, MEMORY_BYTES, THREADS)
    end_us = START_US + traces * ENTRIES * SECOND_US // rate + 3_600 * SECOND_US
    chance = random.Random(2)
    some = [chance.randrange(traces) for _ in range(AUDITS)]
    time_range = TimeRange(start=str(iso(START_US)), end=str(iso(end_us)))

    def of(name: str, number: int) -> Any:
        numbers = {"number": number, "third": number // 3, "hundredth": number // 100}
        text = json.dumps(FILTERS[name])
        for key, value in numbers.items():
            text = text.replace(f"{{{key}:08d}}", f"{value:08d}")
        query = AuditQuery(time_range=time_range, **json.loads(text))
        asked = wanted(query, as_asked if privacy is None else privacy.all_of)
        return audit(queries, (START_US, end_us), asked, 100).entries

    found = {f"audit {name}": timed(partial(of, name), some) for name in FILTERS}
    found["lineage of a record"] = timed(
        lambda n: record_lineage(queries, f"rec-{n:08d}", "forward"), some
    )
    found["history of a record"] = timed(lambda n: history(queries, f"rec-{n:08d}"), some)
    return found


def seed_privacy() -> Privacy:
    """Return what the seed contract calls personal, with a key for this run."""
    contract = load_contract("seed")
    rules = rules_of(contract.field_classes, contract.field_treatments)
    return Privacy(rules, Pseudonyms([Key("bench", secrets.token_bytes(32))]))


def run(
    entries: int,
    folder: Path,
    privacy: Privacy | None = None,
    rate: int = RATE,
    *,
    is_asked: bool = True,
) -> dict[str, Any]:
    """Fill the archive unless it is there, ask it if wanted, and return the report."""
    report: dict[str, Any] = {"entries": entries, "rate": rate, "hours": entries / rate / 3_600}
    if any(folder.glob("spans/*")):
        archive = Archive(Store(str(folder)), Limits(), telemetry=TELEMETRY)
    else:
        archive, report["fill"] = fill(folder, entries, privacy, rate)
    report["disk"] = disk = sizes(folder, archive)
    held = disk["traces"]["bytes"] + disk["spans"]["bytes"]
    held += disk["traces"]["ids_bytes"] + disk["spans"]["ids_bytes"]
    report["disk_bytes_per_span"] = round(held / disk["spans"]["rows"], 1)
    if is_asked:
        report["asked"] = ask(archive, disk["traces"]["rows"], rate)
        report["asked"] |= ask_audit(archive, disk["traces"]["rows"], privacy, rate)
    return report


def as_the_console() -> None:
    """Begin anew with the one thread of polars that the console has: it counts them when loaded."""
    if "POLARS_MAX_THREADS" not in os.environ:
        os.environ["POLARS_MAX_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.archive", *sys.argv[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--entries", type=int, default=500_000, metavar="N")
    parser.add_argument(
        "--rate", type=int, default=RATE, metavar="N", help="entries a second of event time"
    )
    parser.add_argument("--fill-only", action="store_true", help="ask nothing")
    parser.add_argument("--json", type=report_file, metavar="FILE", help="write the report here")
    parser.add_argument(
        "--personal", action="store_true", help="keep pseudonyms of what the seed contract classes"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the archive here")
    arguments = parser.parse_args()
    if arguments.entries < ENTRIES:
        parser.error(f"--entries: at least {ENTRIES}")
    if arguments.rate < 1:
        parser.error("--rate: at least 1")
    bound_heap()  # as the console does
    collect_seldom(COLLECT_EVERY)
    with tempfile.TemporaryDirectory() as temporary:
        privacy = seed_privacy() if arguments.personal else None
        report = run(
            arguments.entries,
            arguments.folder or Path(temporary),
            privacy,
            arguments.rate,
            is_asked=not arguments.fill_only,
        )
    text = json.dumps(report, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    as_the_console()
    main()
