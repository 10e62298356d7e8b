"""`spanloom worker`: join telemetry on a broker."""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import typer

from streams.cli.connection import connect
from streams.cli.importing import uncollected
from streams.compiled.loading import load
from streams.errors import SpanloomError
from streams.monitoring.logs import configure_logs
from streams.monitoring.watchdog import Watchdog
from streams.runtime import life
from streams.runtime.build import Pipeline, load_pipeline
from streams.runtime.heap import bound_heap, collect_seldom, keep_tight
from streams.runtime.link import Link
from streams.runtime.personal import tell
from streams.runtime.supervisor import Supervisor
from streams.settings import WorkerSettings, load_settings

if TYPE_CHECKING:
    from streams.runtime.worker import Worker

log = structlog.get_logger()
_COLLECT_EVERY: Final = 200_000
"""New objects between two collections of the youngest."""
THREADS_SECONDS: Final = 1.0
"""At the end, for threads that are about to end too."""


def run(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    group: str | None = typer.Option(
        None, help="Consumer group; also names transactions and state."
    ),
    state_dir: Path | None = typer.Option(None, help="Folder of the local state; one per worker."),
    contract: str | None = typer.Option(None, help="Path of the contract, or `seed`."),
    fixed_waits: float | None = typer.Option(
        None, help="Close traces S seconds after their first event."
    ),
    exit_after: int | None = typer.Option(None, help="End after N telemetry records."),
    drain_seconds: float | None = typer.Option(
        None, help="With --exit-after: wait so long for open traces."
    ),
    instance: str | None = typer.Option(None, help="Static member id of this worker in its group."),
    input_topic: list[str] | None = typer.Option(
        None, help="Read this topic instead of the contract's."
    ),
    otlp_topics: str | None = typer.Option(
        None, help="Read these topics of OpenTelemetry's Kafka exporter too: names, or KIND=NAME."
    ),
    rekey: str | None = typer.Option(None, help="Topics to place anew by trace id: names, or all."),
    profile: Path | None = typer.Option(None, help="Maps a foreign span schema to columns."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    summary_topic: str | None = typer.Option(None, help="Send a JSON summary of each trace here."),
    closed_retention: float | None = typer.Option(
        None, help="Seconds a closed trace can be amended."
    ),
    workers: int | None = typer.Option(None, help="Run N worker processes of the group here."),
    health_port: int | None = typer.Option(
        None, help="Serve /health, /ready and /metrics on this port of the loopback."
    ),
    metrics_port: int | None = typer.Option(
        None, help="The same on a second port; --health-port is enough for most."
    ),
    log_level: str | None = typer.Option(None, help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Join telemetry into traces, fidelity statistics, alerts and incidents, until stopped.

    Every option has an environment variable, such as SPANLOOM_BROKER: see docs/settings.md.

    Example: spanloom worker --broker 127.0.0.1:9092 --group pipeline --contract seed
    """
    given = dict(
        broker=broker,
        group=group,
        state_dir=state_dir,
        contract=contract,
        fixed_wait_seconds=fixed_waits,
        exit_after=exit_after,
        drain_seconds=drain_seconds,
        instance=instance,
        input_topics=tuple(input_topic) if input_topic else None,
        otlp_topics=otlp_topics,
        rekey=rekey,
        profile=profile,
        derived_prefix=derived_prefix,
        summary_topic=summary_topic,
        closed_retention_seconds=closed_retention,
        workers=workers,
        health_port=health_port,
        metrics_port=metrics_port,
        log_level=log_level,
    )
    settings = load_settings(**given)
    configure_logs(settings.log_level)
    if settings.workers > 1:
        raise typer.Exit(_supervise(settings, given))
    with _leaving_threads():
        asyncio.run(_run(_watchdog(settings), load_pipeline(settings), connect(settings)))


def _watchdog(settings: WorkerSettings) -> Watchdog:
    """Return what watches this process; its supervisor is told from now on that it runs."""
    sign = life.give() if settings.supervised else lambda: None
    watchdog = Watchdog(settings.stalled_timeout_seconds, settings.stop_seconds_max, sign=sign)
    if settings.supervised:
        life.tell_where_it_stands()
        watchdog.live()
    return watchdog


@contextlib.contextmanager
def _leaving_threads() -> Iterator[None]:
    """End the process at once where a thread of the block still waits for the broker, for nobody.

    Python would wait for it, for as long as the broker lets it wait, and the stop's deadline would
    pass. There is nothing to commit: all that was done is.
    """
    before = set(threading.enumerate())
    error: SpanloomError | None = None
    try:
        yield
    except SpanloomError as raised:
        error = raised
    if _outlive(before):
        if error is not None:
            _say("stderr", f"spanloom: {error}")
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0 if error is None else error.exit_code)
    if error is not None:
        raise error


def _outlive(before: Collection[threading.Thread]) -> bool:
    """Whether a thread that came since then works on, after a moment for those that do not."""
    deadline = time.monotonic() + THREADS_SECONDS
    came = [one for one in threading.enumerate() if one not in before and not one.daemon]
    for one in came:
        one.join(max(0.0, deadline - time.monotonic()))
    return any(one.is_alive() for one in came)


def _tell(worker: "Worker") -> None:
    """Say what was done."""
    if worker.settings.exit_after:
        typer.echo("ACCOUNTS " + json.dumps(worker.accounting()))
        typer.echo("RESULT " + json.dumps(_result(worker)))


def _supervise(settings: WorkerSettings, given: Mapping[str, Any]) -> int:
    """Run the workers of this machine; return the exit code."""
    load_pipeline(settings)  # a contract that is wrong is told once, and not by each of them

    async def keep() -> int:
        told = {name: value for name, value in given.items() if value is not None}
        return await Supervisor(settings, told, _say).run()

    return asyncio.run(keep())


def _say(stream: str, line: str) -> None:
    """Say a line; one that nobody takes, on a full disk say, must not end what goes well."""
    with contextlib.suppress(OSError):
        typer.echo(line, err=stream == "stderr")


async def _run(watchdog: Watchdog, pipeline: Pipeline, link: Link) -> None:
    # Faust takes a second to import: no other command shall pay for it.
    with uncollected():
        from streams.runtime.worker import Worker

    collect_seldom(_COLLECT_EVERY)
    bound_heap()
    settings = pipeline.settings
    tell(pipeline.contract, pipeline.privacy)
    _tell_of_limits(settings)
    worker = Worker(
        pipeline, link, lambda tasks: _say("stdout", _ready_line(settings, tasks)), watchdog
    )
    worker.prepare()
    met = worker.bounds_met[""]
    keeper = asyncio.create_task(keep_tight(settings.heap_free_bytes_max, met))
    if settings.compiled_loops:
        _load_loops()
    try:
        await worker.run()
    finally:
        keeper.cancel()
    _tell(worker)


def _load_loops() -> None:
    """Load the compiled loops beside what is waited for: until they are there, polars reads.

    In a thread of its own: asyncio ends when its own threads have, and a compiler takes its time.
    """
    threading.Thread(target=load, name="spanloom-loops").start()


def _tell_of_limits(settings: WorkerSettings) -> None:
    """Say so where a worker would end before what mends a client that hangs can act."""
    if settings.commit_call_seconds_max >= settings.stalled_timeout_seconds:
        log.warning(
            "commit_call_outlasts_stall",
            commit_call_seconds_max=settings.commit_call_seconds_max,
            stalled_timeout_seconds=settings.stalled_timeout_seconds,
            action="set SPANLOOM_STALLED_TIMEOUT_SECONDS well above "
            "SPANLOOM_COMMIT_CALL_SECONDS_MAX: a commit that hangs ends the worker before it is "
            "given up and its task read back",
        )


def _ready_line(settings: WorkerSettings, tasks: Sequence[str]) -> str:
    """Return the line that says that the worker consumes; `partitions` are those of the join."""
    joins = sum(task.startswith("join-") for task in tasks)
    line = f"ready partitions={joins} tasks={','.join(sorted(tasks))}"
    if settings.health_port:
        line += f" health=http://{settings.health_address}:{settings.health_port}"
    return line


def _result(worker: "Worker") -> dict[str, Any]:
    """Return what a benchmark reads: one flat object, from the first record to the last step."""
    first, last = worker.first_record_at, worker.last_step_at()
    result: dict[str, Any] = {"spans": worker.records()}
    if first and last:
        result |= {"wall_s": round(last[0] - first[0], 3), "cpu_s": round(last[1] - first[1], 3)}
    return result
