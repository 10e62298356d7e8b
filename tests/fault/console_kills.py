"""`--target console`: kill -9 of the console at random while workers write.

The pipeline is in trouble again and again, so that alerts and incidents come, too. The archive must
equal the topics, row by row, whatever moment a kill met: a start, a file half
written, a rename, a question.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from streams.codec.records import decode
from streams.console.privacy import privacy_of
from streams.console.settings import load_console_settings
from streams.contract.loader import load_contract
from streams.core.privacy.records import Privacy
from streams.runtime.build import load_pipeline
from streams.runtime.topics import AUDIT
from streams.settings import load_settings
from streams.simulate.faults import ACKNOWLEDGMENTS_LOST, BREAKER_OPEN, Fault
from streams.units import SECOND_US
from tests.fault.arrivals import quantile
from tests.fault.comparing import Difference, compare
from tests.fault.console import ConsoleAt
from tests.fault.harness import PSEUDONYM_KEYS, TRACES, Deployment, WorkerProcess, wait_for
from tests.fault.run import WORKER_SETTINGS, Plan
from tests.fault.traffic import SIMULATED_SECONDS, Feed, Mix

SCENARIO: Final = "console-kills"
AT_WORK_SECONDS: Final = (0.05, 3.0)
AT_START_SECONDS: Final = (0.1, 6.0)
"""A kill meets a console that reads, or one that may still be starting, in turn by chance."""
RESTORED_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 3.0
"""The console asks for the ends of topics once a second: what it says of its lag is younger."""
TOLD: Final = ("alerts", "incidents")
"""Kinds of which a run must have rows, or it has not shown that kills lose none of them."""
FLAP_SECONDS: Final = 15
"""How long each fault is on and then off: alerts fire and resolve, incidents open, change and end,
again and again while the console is killed."""
TROUBLE_SETTINGS: Final[dict[str, object]] = {
    "window_seconds": 2,
    "burn_short_seconds": 5,
    "burn_long_seconds": 10,
    "rule_time_ratio": 0.2,
    "warm_up_seconds": 2,
    "quiet_seconds": 3,
    "incident_update_seconds": 1,
}
"""What happens is told within seconds."""
SHORT_WAIT_SECONDS: Final = 3
"""So long a trace waits in a run of few kills: what comes 8 s late is a second revision then."""
AMENDED_SECONDS: Final = 120.0
ASKED: Final = "/api/v1/traces?start=2000-01-01&end=2100-01-01&limit=5"


def _privacy() -> Privacy | None:
    """Return what the consoles keep in place of what is personal."""
    return privacy_of(load_contract("seed"), load_console_settings(pseudonym_keys=PSEUDONYM_KEYS))


def troubles(start_us: int) -> list[Fault]:
    """Return what goes wrong in a pipeline that begins then: one loss, one breaker, in turn."""
    flap_us = FLAP_SECONDS * SECOND_US
    end_us = start_us + int(SIMULATED_SECONDS) * SECOND_US
    lost, breaker = "delivery>acknowledgment", "INTEGRATION.circuit_breaker"
    return [
        Fault(ACKNOWLEDGMENTS_LOST, lost, start_us, end_us, share=0.5, flap_us=flap_us),
        Fault(
            BREAKER_OPEN, breaker, start_us + flap_us, end_us,
            dimension="hop", value="beta_gamma", flap_us=flap_us,
        ),
    ]  # fmt: skip


def _compared(
    deployment: Deployment, archive: str, say: Callable[[str], None]
) -> dict[str, Difference]:
    """Return how the archive differs from all topics that are read into it."""
    say("the archive is compared with the topics")
    events = [*load_pipeline(load_settings(contract=deployment.contract)).events, AUDIT]
    return compare(deployment, archive, events, _privacy(), say)


def kill_consoles(
    plan: Plan,
    deployment: Deployment,
    say: Callable[[str], None],
    told: Sequence[str] = TOLD,
    *,
    is_short: bool = False,
) -> dict[str, Any]:
    """Run the kills and return their report; the deployment has no topics yet.

    Args:
        plan: how many, of which program, on what input.
        deployment: without topics.
        say: is told how far it is.
        told: kinds that must have arisen. Alerts take longer than a few kills: a run that is to
            show something of the comparison alone asks for none.
        is_short: make sure that each of few kills meets something: traces lie in files before the
            first one, and further revisions are published after the last one.

    Raises:
        AssertionError: the run itself broke: a process did not start, the feed failed.
    """
    began = time.monotonic()
    deployment.create_topics()
    feed = Feed(deployment.broker, plan.seed, plan.records_per_second, Mix(), troubles)
    settings = WORKER_SETTINGS | TROUBLE_SETTINGS
    if is_short:
        settings |= {"fixed_wait_seconds": SHORT_WAIT_SECONDS}
    workers = [
        deployment.worker(instance=f"w{n}", state=f"state-{n}", settings=settings)
        for n in range(plan.workers)
    ]
    at = ConsoleAt(deployment, program=plan.program)
    console = at.start("--contract", "seed")
    feed.start()
    at.wait_until_ready(console)
    if is_short:
        at.wait_until_written(console, "traces")
    say("the console reads; kills begin")
    console, met, recoveries = _killed(at, console, plan, say)
    if is_short:
        _wait_until_amended(deployment, console)
    sent = feed.end()
    say(f"kills are over; {sent} records sent; the workers end")
    for worker in workers:
        worker.terminate()
    for worker in workers:
        assert worker.wait(60) == 0, worker.tail()
    time.sleep(LOOK_SECONDS)
    at.wait_until_read(console)
    console.terminate()
    assert console.wait(60) == 0, console.tail()
    began_cpu = time.process_time()
    found = _compared(deployment, at.archive, say)
    for kind in told:
        assert found[kind].rows, f"no {kind} arose: of them the run shows nothing"
    return {
        "scenario": SCENARIO,
        "target": "console",
        "seed": plan.seed,
        "canary": plan.canary,
        "workers": plan.workers,
        "kills": sum(met.values()),
        **_verdict(found),
        **_times(recoveries),
        "met": met,
        "sent": sent,
        "compared_cpu_s": round(time.process_time() - began_cpu, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def _killed(
    at: ConsoleAt, console: WorkerProcess, plan: Plan, say: Callable[[str], None]
) -> tuple[WorkerProcess, dict[str, int], list[float]]:
    """Kill a console again and again.

    Args:
        at: starts them.
        console: one that reads.
        plan: how often, and the seed.
        say: is told of each.

    Returns:
        The last one, which reads; how many kills met what; and how long, in seconds, it took until
        a console read again, where that was waited for.
    """
    chance = Random(f"{plan.seed}/{SCENARIO}")
    met, recoveries = {"at work": 0, "at a start": 0}, list[float]()
    killed = time.monotonic()
    for n in range(plan.kills):
        is_at_work = chance.random() < 0.6
        if is_at_work:
            at.wait_until_ready(console)
            if n:
                recoveries.append(time.monotonic() - killed)
            at.get(ASKED)
        time.sleep(chance.uniform(*(AT_WORK_SECONDS if is_at_work else AT_START_SECONDS)))
        assert console.is_alive, console.tail()
        console.kill()
        killed = time.monotonic()
        met["at work" if is_at_work else "at a start"] += 1
        console = at.start("--contract", "seed")
        say(f"kill {n + 1:3d}, {'at work' if is_at_work else 'at a start'}")
    at.wait_until_ready(console)
    recoveries.append(time.monotonic() - killed)
    return console, met, recoveries


def _wait_until_amended(deployment: Deployment, console: WorkerProcess) -> None:
    """Wait until a trace is published again that was published before."""

    def amended() -> int:
        return sum(decode(one.value)["revision"] > 1 for one in deployment.read(TRACES))

    before = amended()
    wait_for(lambda: amended() > before, AMENDED_SECONDS, lambda: "a later revision", console)


def _verdict(found: Mapping[str, Difference]) -> dict[str, Any]:
    return {
        "lost": sum(one.lost for one in found.values()),
        "repeated": sum(one.repeated for one in found.values()),
        "wrong": sum(one.wrong for one in found.values()),
        "rows": {kind: one.rows for kind, one in found.items()},
        "compared": {kind: one._asdict() for kind, one in found.items()},
    }


def _times(recoveries: Sequence[float]) -> dict[str, Any]:
    return {
        "recovery_p50_s": quantile(recoveries, 0.5),
        "recovery_p95_s": quantile(recoveries, 0.95),
        "recovery_max_s": quantile(recoveries, 1.0),
        "recoveries": len(recoveries),
    }
