"""How soon do a thousand people who look on see news, and what do they cost the console?

Starts a broker of its own (Java and Maven needed) unless --broker names one, and a console; writes
versions of one incident, one a second, and notes when each viewer has each. A viewer is a
connection to /api/v1/live, as the page opens one.
Run: make bench-viewers ARGS="--viewers 1000 --seconds 60 --json viewers.json"
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from confluent_kafka import Producer

from benchmarks.arguments import at_least_one, report_file
from benchmarks.cases import proc
from benchmarks.cases.lab import ROOT, CaseError, open_lab, say
from streams.codec.records import encode
from streams.codec.schemas import schema_folder
from streams.runtime import topics
from tests.ports import free_port

INCIDENT: Final = "ab" * 16
_PROBE: Final = re.compile(rb"probe (\d+)")
START_SECONDS: Final = 60.0
LAST_SECONDS: Final = 15.0
"""After the last version: who has not seen it by then missed it."""


class Viewer:
    """One connection: when it first saw each version, as seconds of the monotonic clock.

    Who sees a version has seen those before it too: two that come at once are told as one.
    """

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    async def look(self, response: aiohttp.ClientResponse) -> None:
        """Take events until the connection ends."""
        rest = b""
        async for part in response.content.iter_any():
            *events, rest = (rest + part).split(b"\n\n")
            for event in events:
                newest = max(map(int, _PROBE.findall(event)), default=0)
                for number in range(newest, 0, -1):
                    if number in self.seen:
                        break
                    self.seen[number] = time.monotonic()


def version(number: int) -> bytes:
    """Return a version of the incident; its title says which."""
    example = schema_folder() / "examples" / "incident_event" / "2" / "opened.json"
    record: dict[str, Any] = json.loads(example.read_text("utf-8"))
    about = {"incident_id": INCIDENT, "version": number, "title": f"probe {number}"}
    now_us = time.time_ns() // 1_000
    return encode("incident_event", record | about | {"timestamp": now_us, "opened_at": now_us})


async def measure(port: int, broker: str, viewers: int, seconds: int, pid: int) -> dict[str, Any]:
    """Connect the viewers, write a version a second, and return what they saw."""
    before = proc.usage([pid])
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        every = [Viewer() for _ in range(viewers)]
        tasks: list[asyncio.Task[None]] = []
        for one in every:
            url = f"http://127.0.0.1:{port}/api/v1/live"
            response = await stack.enter_async_context(session.get(url))
            if response.status != 200:
                raise CaseError(f"viewer {len(tasks)} was answered {response.status}")
            tasks.append(asyncio.create_task(one.look(response)))
        say(f"viewers: {viewers} look on")
        producer = Producer({"bootstrap.servers": broker, "linger.ms": 0})
        written: dict[int, float] = {}
        start_cpu_s, begun = proc.usage([pid]).cpu_s, time.monotonic()
        for number in range(1, seconds + 1):
            producer.produce(topics.INCIDENTS, version(number), INCIDENT, 0)
            producer.poll(0)
            written[number] = time.monotonic()
            await asyncio.sleep(1)
        if left := producer.flush(10):
            raise CaseError(f"{left} versions were not taken by the broker")
        cpu_s = proc.usage([pid]).cpu_s - start_cpu_s
        until = time.monotonic() + LAST_SECONDS
        while time.monotonic() < until and not all(seconds in one.seen for one in every):
            await asyncio.sleep(0.1)
        after = proc.usage([pid])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    waits = [
        (one.seen[number] - at) * 1000
        for one in every
        for number, at in written.items()
        if number in one.seen
    ]
    p50, p99, worst = np.percentile(waits, (50, 99, 100))
    return {
        "viewers": viewers,
        "versions": seconds,
        "seen": len(waits),
        "viewers_without_the_last": sum(seconds not in one.seen for one in every),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(worst), 1),
        "console_cpu_share": round(cpu_s / (time.monotonic() - begun), 3),
        "rss_before_bytes": before.rss_bytes,
        "rss_after_bytes": after.rss_bytes,
    }


def start(folder: Path, broker: str) -> tuple[subprocess.Popen[bytes], int]:
    """Return a console that serves, and its port.

    Raises:
        CaseError: it does not begin to serve.
    """
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPANLOOM_")}
    environment |= {"PYTHONPATH": str(ROOT), "SPANLOOM_BROKER": broker}
    main = [sys.executable, "-m", "streams.cli.main"]
    subprocess.run([*main, "topics", "create"], env=environment, check=True, stdout=2)
    log = (folder / "console.log").open("wb")
    console = subprocess.Popen(
        [*main, "console", "--archive", str(folder / "archive"), "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=log,
    )
    deadline = time.monotonic() + START_SECONDS
    while True:
        if console.poll() is not None or time.monotonic() > deadline:
            console.kill()
            text = (folder / "console.log").read_text("utf-8", "replace")[-2_000:]
            raise CaseError(f"the console does not serve: {text}")
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return console, port
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when a viewer missed the last version."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--viewers", type=at_least_one, default=1_000)
    parser.add_argument("--seconds", type=at_least_one, default=60)
    parser.add_argument("--broker", default="", help="HOST:PORT; else one of its own is started")
    parser.add_argument("--json", type=report_file, metavar="FILE", help="write the report here")
    options = parser.parse_args(arguments)
    try:
        with open_lab(options.broker, {}) as lab:
            console, port = start(lab.folder, lab.broker)
            try:
                found = asyncio.run(
                    measure(port, lab.broker, options.viewers, options.seconds, console.pid)
                )
            finally:
                console.terminate()
                console.wait(30)
    except CaseError as error:
        say(str(error))
        return 2
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    return int(found["viewers_without_the_last"] > 0)


if __name__ == "__main__":
    sys.exit(main())
