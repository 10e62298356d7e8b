"""A pipeline that tells its spans while its broker is away: run by the case `sdk-outage`.

Threads take records one after the other, each once with spans and once without. What a record took
is kept with the time at which it began, beside samples of memory and of what waits. At the end a
line of JSON comes in, which says when the phases were; out goes what happened in each, and what
became of the spans: python -m benchmarks.outage_probe --broker HOST:PORT --threads 8
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.sdk_probe import STAGES, waiting
from streams.sdk import Telemetry

SAMPLE_SECONDS = 0.25
FLUSH_SECONDS = 240.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Pipeline:
    """Threads that work on records, and what was measured of them.

    Attributes:
        made: spans begun and ended, by thread.
        records: (time, seconds with spans, seconds without) of each pair, by thread.
        samples: (time, bytes of memory, events that wait).
    """

    def __init__(self, telemetry: Telemetry, threads: int) -> None:
        self._telemetry = telemetry
        self._is_over = threading.Event()
        self.made = [0] * threads
        self.records: list[list[tuple[float, float, float]]] = [[] for _ in range(threads)]
        self.samples: list[tuple[float, int, int]] = []
        work = [threading.Thread(target=self._work, args=(n,)) for n in range(threads)]
        self._threads = [*work, threading.Thread(target=self._watch)]
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """End all threads."""
        self._is_over.set()
        for one in self._threads:
            one.join()

    def _work(self, thread: int) -> None:
        number = 0
        while not self._is_over.is_set():
            began, taken = time.time(), {}
            for is_told in (number % 2 == 0, number % 2 == 1):
                start = time.perf_counter()
                for stage in STAGES:
                    if is_told:
                        with self._telemetry.span(stage, record_id=f"r-{thread}-{number}"):
                            waiting(stage)
                        self.made[thread] += 1
                    else:
                        with nullcontext():
                            waiting(stage)
                taken[is_told] = time.perf_counter() - start
            self.records[thread].append((began, taken[True], taken[False]))
            number += 1

    def _watch(self) -> None:
        while not self._is_over.wait(SAMPLE_SECONDS):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            waits = self._telemetry.counts().waiting
            self.samples.append((time.time(), pages * _PAGE_BYTES, waits))

    def phase(self, begin: float, end: float) -> dict[str, float]:
        """Return what happened between two times."""
        pairs = [pair for of in self.records for pair in of if begin <= pair[0] < end]
        told, bare = ([pair[n] * 1e3 for pair in pairs] for n in (1, 2))
        seen = [one for one in self.samples if begin <= one[0] < end]
        return {
            "records": len(pairs),
            "told_p50_ms": round(statistics.median(told), 3),
            "bare_p50_ms": round(statistics.median(bare), 3),
            "told_p99_ms": round(statistics.quantiles(told, n=100)[98], 3),
            "bare_p99_ms": round(statistics.quantiles(bare, n=100)[98], 3),
            "extra_ratio": round(statistics.fmean(told) / statistics.fmean(bare) - 1, 5),
            "rss_bytes_max": max(one[1] for one in seen),
            "waiting_max": max(one[2] for one in seen),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    telemetry = Telemetry("ALPHA", "probe", options.broker)
    pipeline = Pipeline(telemetry, options.threads)
    print("ready", flush=True)
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    pipeline.stop()
    is_flushed = telemetry.flush(FLUSH_SECONDS)
    counts = telemetry.close(30)
    found = {
        "phases": {name: pipeline.phase(*times) for name, times in asked["phases"].items()},
        "begun": sum(pipeline.made),
        "is_flushed": is_flushed,
        **counts._asdict(),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
