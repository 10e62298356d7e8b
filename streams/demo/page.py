"""The console beside a demonstration: a process of its own, on an archive that goes with it.

Invariant: the demonstration neither waits for it nor fails with it; why there is no page is said.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self

PORT: Final = 8090
STOP_SECONDS: Final = 10.0
CLOSED_FILE: Final = "orders-closed"
_TAIL_CHARS: Final = 300
FILE_SECONDS: Final = "5"
CLOSED: Final = "the demonstration is over, and the worker that would carry them out with it\n"


class Page:
    """A console that shows what a demonstration does.

    Args:
        broker: where the derived topics are.
        contract: as the worker has it.
        port: where it serves; another free one when that is taken, none for 0.
    """

    def __init__(self, broker: str, contract: str, port: int) -> None:
        self._folder: Path | None = None
        self._port = _free(port) if port else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._broker, self._contract = broker, contract

    def __enter__(self) -> Self:
        """Start it; it serves a second or two later."""
        if self._port:
            self._folder = folder = Path(tempfile.mkdtemp(prefix="spanloom-page-"))
            environment = {k: v for k, v in os.environ.items() if not k.startswith("SPANLOOM_")}
            environment["SPANLOOM_CONSOLE_FILE_SECONDS"] = FILE_SECONDS
            environment["SPANLOOM_CONSOLE_ORDERS_CLOSED_FILE"] = str(folder / CLOSED_FILE)
            with (folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "streams.cli.main", "console"),
                        *("--broker", self._broker, "--contract", self._contract),
                        *("--archive", str(folder / "archive"), "--port", str(self._port)),
                    ],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the demonstration, which ends it
                )
        return self

    def __exit__(self, *_: object) -> None:
        """End it and delete its archive."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def words(self) -> str:
        """Return where the page is, or why there is none; "" when none was asked for."""
        if self._process is None or self._folder is None:
            return ""
        if (code := self._process.poll()) is not None:
            said = (self._folder / "log").read_text("utf-8", "replace").strip()
            return f"no page, the console ended with {code}: {said[-_TAIL_CHARS:]}"
        return f"http://127.0.0.1:{self._port}"

    def close_orders(self) -> None:
        """Let it take no more orders: there is no worker any more."""
        if self._folder is not None:
            (self._folder / CLOSED_FILE).write_text(CLOSED, "utf-8")

    def stay(self) -> None:
        """Keep it until Ctrl-C or SIGTERM, or until it ends by itself."""
        for one in (signal.SIGINT, signal.SIGTERM):  # they were the worker's, which is over
            signal.signal(one, signal.default_int_handler)
        try:
            while self._process is not None and self._process.poll() is None:
                time.sleep(0.2)
        except KeyboardInterrupt:
            return


def _free(port: int) -> int:
    """Return a port that can be listened on: this one, else any."""
    for candidate in (port, 0):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            found: int = one.getsockname()[1]
            return found
    return 0
