"""What a running worker tells: a line of progress now and then, and pages for those who ask."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from streams.errors import ConfigError
from streams.monitoring.metrics import Exposition
from streams.monitoring.server import Page, Pages, json_page, serve
from streams.monitoring.sockets import Port
from streams.monitoring.view import View, health, ready
from streams.settings import WorkerSettings

log = structlog.get_logger()
PROGRESS_SECONDS: Final = 10.0


def ports_of(settings: WorkerSettings) -> list[Port]:
    """Return where a worker serves its pages; of number 0 for nowhere."""
    return [
        Port("health_port", "--health-port", settings.health_address, settings.health_port),
        Port("metrics_port", "--metrics-port", settings.metrics_address, settings.metrics_port),
    ]


def pages(view: Callable[[], View], blocked_seconds: Callable[[], float]) -> Pages:
    """Return the pages of a worker by path.

    Args:
        view: gives the last look.
        blocked_seconds: gives for how long the worker's loop has not turned.
    """
    exposition = Exposition(view, blocked_seconds)
    return {
        "/health": lambda _accept: json_page(health(view(), blocked_seconds())),
        "/ready": lambda _accept: json_page(ready(view())),
        "/metrics": lambda accept: Page(200, *exposition.text(accept)),
    }


class Reporter:
    """Logs progress and serves the pages while a worker runs.

    Args:
        view: gives the last look at the worker.
        blocked_seconds: gives for how long the worker's loop has not turned.
        ports: where the pages are served; of number 0 for nowhere.

    Raises:
        ConfigError: a port cannot be listened on.
    """

    def __init__(
        self, view: Callable[[], View], blocked_seconds: Callable[[], float], ports: Sequence[Port]
    ) -> None:
        self._view = view
        self._stops: list[Callable[[], None]] = []
        made = pages(view, blocked_seconds)
        try:
            for port in ports:
                if port.number:
                    self._stops.append(serve(made, port))
        except ConfigError:
            self._stop_serving()
            raise
        self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            log.info("worker_progressed", **progress(self._view().tasks))

    async def stop(self) -> None:
        """End both."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._stop_serving)

    def _stop_serving(self) -> None:
        for stop in self._stops:
            stop()


def progress(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a line of progress: sums over the joins, and the one furthest behind."""
    joins = [task for task in tasks if "accounting" in task]
    accounts: dict[str, int] = {}
    for task in joins:
        for account, n in task["accounting"].items():
            accounts[account] = accounts.get(account, 0) + n
    lags = {task["task"]: sum(lag or 0 for lag in task["lag"].values()) for task in tasks}
    furthest = max(lags, key=lambda task: lags[task], default="")
    return {
        **accounts,
        "open_traces": sum(task["open_traces"] for task in joins),
        "watermark_us": min((task["watermark_us"] for task in joins), default=0),
        "held_topics": sorted({topic for task in joins for topic in task["held_topics"]}),
        "lag_records": sum(lags.values()),
        "furthest_behind": furthest if lags.get(furthest) else "",
    }
