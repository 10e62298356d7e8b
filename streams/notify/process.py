"""The process that hands incidents on: all targets, the pages, the end.

Owns what targets have in common: threads, restarts after a lost broker, the last look that the
pages show. Invariant: it ends for a missing right or a refusal, and never for a receiver.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from streams.contract.notify import Notify, Target
from streams.errors import BrokerError, ConfigError, RightError, StateError
from streams.monitoring.notify_metrics import NotifyView, exposition, health, ready
from streams.monitoring.server import Page, Pages, json_page, serve
from streams.monitoring.watchdog import Watchdog
from streams.notify.secrets import Credentials, read_credentials
from streams.notify.senders import make_sender
from streams.notify.settings import NotifySettings
from streams.notify.target import Counts, TargetRunner
from streams.notify.topic import TopicView
from streams.runtime import rights, topics
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from streams.runtime.reporting import ports_of
from streams.runtime.restarts import Restarts
from streams.runtime.stop_signals import StopSignals
from streams.settings import WorkerSettings

RESTART_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0

log = structlog.get_logger()


class Notifier:
    """Tells all targets until it is stopped.

    Args:
        notify: whom.
        settings: of this process.
        common: of every command.
        link: how to reach the broker.
        say_ready: called once, when every target is read for or is a spare.

    Raises:
        ConfigError: a secret cannot be read, or an address does not fit.
    """

    def __init__(
        self,
        notify: Notify,
        settings: NotifySettings,
        common: WorkerSettings,
        link: Link,
        say_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._notify, self._settings, self._common, self._link = notify, settings, common, link
        self._topic = common.derived_prefix + topics.INCIDENTS
        self._credentials = credentials_of(notify, settings)
        self._say_ready = say_ready
        self._runners: dict[str, TargetRunner] = {}
        self._counts = {target.id: Counts() for target in notify.targets}
        self._view = NotifyView()
        self._stop = asyncio.Event()
        self._watchdog = Watchdog(common.stalled_timeout_seconds, common.stop_seconds_max)
        # One thread of a target waits for the topic, one commits, one asks for the topic's end.
        self._pool = ThreadPoolExecutor(3 * len(notify.targets) + 2, "spanloom-notify")

    def prepare(self) -> None:
        """Pass when the broker, the topic and the rights are there; blocking.

        Raises:
            BrokerError: one of them is not.
        """
        with Reading(self._link) as reading:
            there = reading.topics()
        groups = [self._settings.group_of(target.id) for target in self._notify.targets]
        sent_to = [target.topic for target in self._notify.targets if target.topic is not None]
        needed = rights.of_notify(self._topic, groups, sent_to)
        rights.check(self._link.librdkafka(), needed, self._link.settings.who)
        missing = [name for name in (self._topic, *sent_to) if name not in there]
        if missing:
            raise BrokerError(
                f"topics are missing: {', '.join(missing)}. Operator action: run `spanloom topics "
                "create --broker HOST:PORT`, and make topics of your own as you make them."
            )
        if there[self._topic] != 1:
            raise BrokerError(
                f"{self._topic} has {there[self._topic]} partitions, not 1. Operator action: "
                "change the topics as said."
            )

    async def run(self) -> None:
        """Tell until a signal asks for the end.

        Raises:
            BrokerError: the broker refuses.
        """
        StopSignals(self._told, is_hard=True, is_supervised=False).install()
        stops = self._serve()
        self._watchdog.start()
        log.info("notify_started", topic=self._topic, targets=[t.id for t in self._notify.targets])
        tasks = [asyncio.create_task(self._keep(target)) for target in self._notify.targets]
        look = asyncio.create_task(self._look())
        try:
            done, _ = await asyncio.wait([*tasks, look], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.gather(*tasks)
        finally:
            self.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)
            for stop in stops:
                await asyncio.get_running_loop().run_in_executor(None, stop)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._watchdog.over()
        log.info("notify_stopped")

    def _told(self) -> None:
        if not self._stop.is_set():
            log.info("told_to_stop")
        self.stop()

    def stop(self) -> None:
        """Ask for the end: what is in flight is finished and committed."""
        if not self._stop.is_set():
            self._stop.set()
            self._watchdog.stopping()
            for runner in self._runners.values():
                runner.stop()

    def _serve(self) -> list[Callable[[], None]]:
        if not self._common.health_port:
            return []
        return [serve(pages(lambda: self._view), ports_of(self._common)[0])]

    async def _keep(self, target: Target) -> None:
        """Run a target, again after the broker failed it; too often ends the process."""
        restarts = Restarts(self._common.restart_window_seconds)
        while not self._stop.is_set():
            runner = self._runner(target)
            self._runners[target.id] = runner
            try:
                await runner.run()
            except RightError:
                raise
            except (BrokerError, StateError) as error:
                if restarts.note(time.monotonic()) > self._common.restarts_max:
                    raise
                log.error("notify_target_restarted", target=target.id, error=str(error))
                await self._sleep(RESTART_SECONDS)

    def _runner(self, target: Target) -> TargetRunner:
        view = TopicView(
            self._link,
            self._topic,
            self._settings.group_of(target.id),
            self._common.session_timeout_seconds,
            self._common.instance,
        )
        sender = make_sender(self._notify, target, self._credentials[target.id], self._link)
        return TargetRunner(target, view, sender, self._pool, self._counts[target.id])

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _look(self) -> None:
        is_told = False
        limit = self._common.broker_timeout_seconds * self._common.unhealthy_ratio
        while not self._stop.is_set():
            self._watchdog.turned()
            statuses = [self._runners[target.id].status() for target in self._notify.targets]
            self._view = NotifyView(statuses, limit, "running")
            if not is_told and all(status["is_assigned"] for status in statuses):
                is_told = True
                self._say_ready()
            await self._sleep(0.2 if not is_told else LOOK_SECONDS)
        self._view = NotifyView(self._view.targets, limit, "stopping")


def credentials_of(notify: Notify, settings: NotifySettings) -> Mapping[str, Credentials]:
    """Return addresses and secrets of each target, by id.

    Raises:
        ConfigError: one cannot be read or does not fit; all of them are named.
    """
    found: dict[str, Credentials] = {}
    faults: list[str] = []
    for target in notify.targets:
        try:
            found[target.id] = read_credentials(target, notify.allow_hosts, settings.hosts)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("; ".join(faults))
    return found


def pages(view: Callable[[], NotifyView]) -> Pages:
    """Return the pages by path."""
    text = exposition(view)
    return {
        "/health": lambda _accept: json_page(health(view())),
        "/ready": lambda _accept: json_page(ready(view())),
        "/metrics": lambda accept: Page(200, *text(accept)),
    }
