"""What a running worker tells: a line of progress now and then, metrics when asked."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog

from streams.monitoring.metrics import serve_metrics
from streams.runtime.changelog import DISK_FULL
from streams.runtime.host import TaskHost

log = structlog.get_logger()
PROGRESS_SECONDS: Final = 10.0


def task_status(hosts: Iterable[TaskHost]) -> Sequence[dict[str, Any]]:
    """Return one mapping a task, as `streams.monitoring.metrics` takes them."""
    return [
        {
            "task": str(host.id),
            "cuts": host.cuts,
            "restarts": len(host.restarts),
            "lost_to_retention": host.lost_to_retention,
            "local_rebuilds": dict(host.local_rebuilds),
            "is_disk_full": host.waiting_for == DISK_FULL,
            **host.runner.status(),
        }
        for host in list(hosts)
    ]


class Reporter:
    """Logs progress and serves metrics while a worker runs.

    Args:
        hosts: the worker's tasks as of now.
        port: port of the metrics; 0 serves none.
        address: address of the metrics; the loopback unless configured.
    """

    def __init__(self, hosts: Callable[[], Iterable[TaskHost]], port: int, address: str) -> None:
        self._hosts = hosts
        self._stop_metrics = (
            serve_metrics(lambda: task_status(hosts()), port, address) if port else None
        )
        self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            joins = [s for s in task_status(self._hosts()) if "accounting" in s]
            accounts: dict[str, int] = {}
            for status in joins:
                for account, n in status["accounting"].items():
                    accounts[account] = accounts.get(account, 0) + n
            held = sorted({topic for status in joins for topic in status["held_topics"]})
            log.info(
                "worker_progressed",
                **accounts,
                open_traces=sum(status["open_traces"] for status in joins),
                watermark_us=min((status["watermark_us"] for status in joins), default=0),
                held_topics=held,
            )

    async def stop(self) -> None:
        """End both."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._stop_metrics is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._stop_metrics)
