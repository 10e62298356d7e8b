"""The console's process: the threads that read and keep order, the server on the loop, the end.

Owns the life of all. Invariant: when one of them ends, the process does, and says why.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
import uvicorn
from starlette.responses import JSONResponse, Response

from streams.console.api import application
from streams.console.archive import Archive, Limits
from streams.console.queries import Queries
from streams.console.reader import Reader
from streams.console.settings import ConsoleSettings
from streams.console.store import Store
from streams.console.upkeep import Upkeep
from streams.errors import ConfigError
from streams.runtime.link import Link
from streams.runtime.state_folder import lock_folder
from streams.runtime.stop_signals import StopSignals

LOOK_SECONDS: Final = 0.5
STOP_SECONDS: Final = 20.0
CONNECTIONS_MAX: Final = 500

log = structlog.get_logger()


class Console:
    """The process.

    Args:
        settings: of the console.
        prefix: of the names of derived topics.
        telemetry: names of the topics that hold events.
        link: how to reach the broker.
        say_ready: called once, when it serves.

    Raises:
        ConfigError, StateError: the archive cannot be used, or another console writes it.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        prefix: str,
        telemetry: Iterable[str],
        link: Link,
        say_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._say_ready = settings, say_ready
        limits = Limits(
            settings.file_rows, settings.file_bytes, settings.file_seconds, settings.merge_files
        )
        store = Store(settings.archive)
        if store.folder is not None:  # of a bucket only the overlap of files tells, at a start
            lock_folder(
                store.folder,
                "let the console write there, or name another place with --archive",
                "give each console an archive of its own with --archive",
            )
        self._archive = Archive(store, limits, prefix, telemetry)
        self._reader = Reader(self._archive, link)
        self._upkeep = Upkeep(
            self._archive, settings.merge_seconds, settings.keep_days, settings.holds
        )
        self._queries = Queries(self._archive, settings.query_memory_bytes, settings.query_threads)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Read and serve until a signal asks for the end.

        Raises:
            ConfigError: the port is taken.
            SpanloomError: reading cannot go on.
        """
        StopSignals(self._stop.set, is_hard=True, is_supervised=False).install()
        with ThreadPoolExecutor(self._settings.query_threads, "spanloom-query") as workers:
            server = self._server(workers)
            self._reader.start()
            self._upkeep.start()
            serving = asyncio.create_task(self._serve(server))
            while not self._stop.is_set() and self._lives() and not serving.done():
                if server.started:
                    self._say_ready()
                    self._say_ready = lambda: None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LOOK_SECONDS)
            server.should_exit = True
            await serving
            is_over = await asyncio.to_thread(self._reader.stop, STOP_SECONDS)
            await asyncio.to_thread(self._upkeep.stop, STOP_SECONDS)
        for failed in (self._reader.failed, self._upkeep.failed):
            if failed is not None:
                raise failed
        if not is_over:
            log.warning("archive_not_written", action="nothing is lost: it is read again")

    def _lives(self) -> bool:
        return self._reader.is_alive and self._upkeep.is_alive

    def _server(self, workers: ThreadPoolExecutor) -> "_Server":
        others = {
            "/health": self._health,
            "/ready": self._ready,
            "/api/v1/health": self._health,
        }
        app = application(self._queries, workers, others)
        config = uvicorn.Config(
            app,
            host=self._settings.address,
            port=self._settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=5,
        )
        return _Server(config)

    async def _serve(self, server: "_Server") -> None:
        try:
            await server.serve()
        except SystemExit as error:  # uvicorn's word for a port that is taken
            raise ConfigError(
                f"console_port (SPANLOOM_CONSOLE_PORT): {self._settings.port} on "
                f"{self._settings.address} cannot be listened on; take another with --port"
            ) from error

    def _health(self) -> Response:
        reader = self._reader
        said = {
            "healthy": reader.is_alive,
            "waits_for": reader.waits_for,
            "lag_records": reader.lag(),
            "unreadable": dict(self._archive.unreadable),
            "archive": self._archive.counts(),
            "archive_growth": self._archive.growth(time.time_ns() // 1000)._asdict(),
        }
        return JSONResponse(said, 200 if reader.is_alive else 503)

    def _ready(self) -> Response:
        is_ready = self._reader.is_alive and not self._reader.waits_for
        said = {"ready": is_ready, "waits_for": self._reader.waits_for}
        return JSONResponse(said, 200 if is_ready else 503)


class _Server(uvicorn.Server):
    """A server that leaves signals to the process: the archive is written before the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
