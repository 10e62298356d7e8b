"""The console's process: the threads that read and keep order, the server on the loop, the end.

Owns the life of all. Invariant: when one of them ends, the process does, and says why.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.console import news, site
from streams.console.access.gate import actor_of
from streams.console.api import application
from streams.console.archive.archive import Archive
from streams.console.archive.erasing import erase
from streams.console.archive.otlpcolumns import NOWHERE, OtlpSource
from streams.console.archive.reader import Reader
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.archive.upkeep import Upkeep
from streams.console.build import build
from streams.console.live import Live, Source
from streams.console.metrics import Rows, exposition, of_requests
from streams.console.ordering import closed
from streams.console.paths.catalog import catalog_paths
from streams.console.paths.pipeline import pipeline_paths
from streams.console.privacy import check_keys, privacy_of
from streams.console.questions.pipeline_health import promise_of
from streams.console.questions.queries import Queries, Spill
from streams.console.settings import ConsoleSettings
from streams.contract.model import Contract
from streams.monitoring.metrics import by_key
from streams.monitoring.sockets import Port, listen
from streams.runtime.clock import wall_us
from streams.runtime.link import Link
from streams.runtime.state_folder import lock_folder
from streams.runtime.stop_signals import StopSignals
from streams.serving.patience import Server, allow_files, server

LOOK_SECONDS: Final = 0.5
STOP_SECONDS: Final = 20.0
ORDER_THREADS: Final = 2
COLLECT_EVERY: Final = 20_000
"""New objects between two collections of the youngest: more than the records of a poll are."""
BEAT_SECONDS: Final = 2.0
"""How often viewers hear of the console's health; the page calls its news old after a few."""

log = structlog.get_logger()


class Console:
    """The process.

    Args:
        settings: of the console.
        prefix: of the names of derived topics.
        telemetry: names of the topics that hold events of ours.
        link: how to reach the broker.
        say_ready: called once, when it serves.
        contract: what the page draws its map of; None for none.
        otlp: the topics that hold OTLP messages.

    Raises:
        ConfigError, StateError: the archive cannot be used, another console writes it, or the
            contract calls fields personal and there is no key for pseudonyms, nor can one be made.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        prefix: str,
        telemetry: Iterable[str],
        link: Link,
        say_ready: Callable[[], None] = lambda: None,
        contract: Contract | None = None,
        otlp: OtlpSource = NOWHERE,
    ) -> None:
        self._settings, self._say_ready, self._contract = settings, say_ready, contract
        self._prefix, self._link = prefix, link
        check_keys(contract, settings)
        limits = Limits(
            settings.file_rows, settings.file_bytes, settings.file_seconds, settings.merge_files
        )
        self._store = store = Store(settings.archive)
        if store.folder is not None:  # of a bucket only the overlap of files tells, at a start
            lock_folder(
                store.folder,
                "let the console write there, or name another place with --archive",
                "give each console an archive of its own with --archive",
            )
        self._privacy = privacy_of(contract, settings, lambda: bool(store.segments()))
        privacy = self._privacy
        self._archive = Archive(store, limits, prefix, telemetry, privacy=privacy, otlp=otlp)
        self._reader = Reader(self._archive, link)
        self._upkeep = Upkeep(
            self._archive,
            settings.merge_seconds,
            settings.keep_days,
            settings.holds,
            settings.keep_minute_days,
            settings.keep_hour_days,
        )
        self._queries = Queries(
            self._archive,
            settings.query_memory_bytes,
            settings.query_threads,
            _spill(settings, store.folder),
        )
        self._live = Live(
            [
                *news.sources(self._archive, self._queries, promise_of(contract)),
                Source("health", lambda: time.monotonic() // BEAT_SECONDS, self._said),
            ]
        )
        self._stop = asyncio.Event()
        self._is_serving = False

    async def run(self) -> None:
        """Read and serve until a signal asks for the end.

        Raises:
            ConfigError: the port cannot be listened on.
            SpanloomError: reading cannot go on.
        """
        StopSignals(self._stop.set, is_hard=True, is_supervised=False).install()
        settings = self._settings
        sockets = listen(Port("console_port", "--port", settings.address, settings.port))
        with (
            ThreadPoolExecutor(self._settings.query_threads, "spanloom-query") as workers,
            ThreadPoolExecutor(ORDER_THREADS, "spanloom-order") as orders,
        ):
            server = self._server(workers, orders)
            self._reader.start()
            self._upkeep.start()
            serving = asyncio.create_task(server.serve(sockets))
            telling = asyncio.create_task(self._live.run())
            ends = (serving, telling)
            while (
                not self._stop.is_set() and self._lives() and not any(task.done() for task in ends)
            ):
                if server.started and not self._is_serving:
                    self._is_serving = True
                    log.info("console_ready", archive=settings.archive, port=settings.port)
                    self._say_ready()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LOOK_SECONDS)
            began = time.monotonic()
            log.info("console_stops", why=self._why(), viewers=self._live.viewers)
            self._live.stop()  # else the server would wait for those who look on
            server.should_exit = True
            await asyncio.gather(*ends)
            is_over = await asyncio.to_thread(self._reader.stop, STOP_SECONDS)
            await asyncio.to_thread(self._upkeep.stop, STOP_SECONDS)
        for failed in (self._reader.failed, self._upkeep.failed):
            if failed is not None:
                raise failed
        if not is_over:
            log.warning("archive_not_written", action="nothing is lost: it is read again")
        log.info(
            "console_stopped",
            seconds=round(time.monotonic() - began, 1),
            unwritten_records=sum(one["tail_records"] for one in self._archive.counts().values()),
        )

    def _why(self) -> str:
        """Return what ends the console: the signal, or the part that ended by itself."""
        if self._stop.is_set():
            return "a signal"
        parts = {"the reader": self._reader.is_alive, "the upkeep": self._upkeep.is_alive}
        return next((name for name, lives in parts.items() if not lives), "the server")

    def _lives(self) -> bool:
        return self._reader.is_alive and self._upkeep.is_alive

    def _server(self, workers: ThreadPoolExecutor, orders: ThreadPoolExecutor) -> Server:
        settings = self._settings
        built = build(
            settings,
            self._store.folder,
            self._queries,
            workers,
            orders,
            self._link,
            self._prefix,
            self._reader.lags,
            self._privacy,
            lambda found: erase(self._archive, found, self._upkeep.read_holds()),
        )
        interface = built.interface
        text = exposition([self._rows, interface.rows, lambda: of_requests(interface.meters)])

        def metrics(request: Request) -> Response:
            content_type, body = text(request.headers.get("accept", ""))
            return Response(body, headers={"Content-Type": content_type})

        others = {
            "/health": self._health,
            "/ready": self._ready,
            "/api/v1/health": self._health,
            "/metrics": metrics,
        }
        promise = promise_of(self._contract)
        more = (*built.paths, *catalog_paths(self._contract), *pipeline_paths(promise))
        routes = [*built.logins, Route("/api/v1/live", self._live, methods=["GET"]), *site.routes()]
        return server(
            application(interface, others, more, routes),
            interface.meters,
            limit_concurrency=allow_files(settings.connections_max),
            ssl_certfile=settings.tls_certificate_file,
            ssl_keyfile=settings.tls_key_file,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies) or None,
        )

    def _said(self) -> dict[str, Any]:
        reader = self._reader
        return {
            "healthy": reader.is_alive,
            "waits_for": reader.waits_for,
            "lag_records": reader.lag(),
            "unreadable": dict(self._archive.unreadable),
            "archive": self._archive.counts(),
            "viewers": {"now": self._live.viewers, "dropped_total": self._live.dropped},
            "orders_closed": closed(self._settings.orders_closed_file),
            "archive_growth": self._archive.growth(wall_us())._asdict(),
        }

    def _health(self, request: Request) -> Response:
        return _answer(request, self._said(), self._reader.is_alive)

    def _ready(self, request: Request) -> Response:
        is_ready = self._reader.is_alive and not self._reader.waits_for
        said = {"ready": is_ready, "waits_for": self._reader.waits_for}
        return _answer(request, said, is_ready)

    def _rows(self) -> Rows:
        """Return what the reader and the archive have to say to a scraper."""
        reader, archive, waits_for = self._reader, self._archive, self._reader.waits_for
        counts = archive.counts()
        growth = archive.growth(wall_us())
        lag: dict[str, int] = {}
        for (topic, _), (next_, end) in reader.lags().items():
            lag[topic] = lag.get(topic, 0) + max(0, end - next_)
        return {
            "spanloom_console_ready": [((), int(self._lives() and not waits_for))],
            "spanloom_console_healthy": [((), int(self._lives()))],
            "spanloom_console_lag_records": by_key(lag),
            "spanloom_console_archived_records": by_key(archive.archived),
            "spanloom_console_unreadable_records": by_key(archive.unreadable),
            "spanloom_console_files": [((kind,), one["files"]) for kind, one in counts.items()],
            "spanloom_console_file_bytes": [
                ((kind,), one["file_bytes"]) for kind, one in counts.items()
            ],
            "spanloom_console_tail_records": [
                ((kind,), one["tail_records"]) for kind, one in counts.items()
            ],
            "spanloom_console_archive_bytes_per_day": [((), growth.bytes_per_day)],
            "spanloom_console_disk_used_ratio": _known(growth.disk_used_ratio),
            "spanloom_console_disk_full_days": _known(growth.days_until_full),
            "spanloom_console_viewers": [((), self._live.viewers)],
            "spanloom_console_dropped_viewers": [((), self._live.dropped)],
            "spanloom_console_waits": [((waits_for,), 1)] if waits_for else [],
        }


def _known(value: float | None) -> list[tuple[tuple[str, ...], float]]:
    return [] if value is None else [((), value)]


def _spill(settings: ConsoleSettings, archive: Path | None) -> Spill | None:
    """Return where questions may spill; what a kill left there is removed."""
    if not settings.query_spill_bytes:
        return None
    folder = (archive or Path(tempfile.gettempdir())) / f"spill-{settings.port}"
    shutil.rmtree(folder, ignore_errors=True)
    return Spill(folder, settings.query_spill_bytes)


def _answer(request: Request, said: dict[str, Any], is_well: bool) -> Response:
    """Return a page of health; a stranger is told no more than its first word."""
    if actor_of(request) is None:
        said = dict(list(said.items())[:1])
    return JSONResponse(said, 200 if is_well else 503)
