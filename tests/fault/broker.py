"""One real Kafka node that may be hurt: stopped, killed, started again with its data.

Owns the node that it starts, by `deploy/kafka/broker.sh`, and no other. PORT and CONTROLLER_PORT
name its ports; without them two free ones are taken.
"""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from tests.fault.harness import REPOSITORY, wait_for
from tests.ports import free_ports

SCRIPT: Final = REPOSITORY / "deploy" / "kafka" / "broker.sh"
START_TRIES: Final = 3
START_SECONDS_MAX: Final = 600
"""The first start downloads Kafka's jars."""


class NoBrokerError(Exception):
    """A real broker cannot run here; the message says what is missing."""


class BrokerNode:
    """A node of our own."""

    def __init__(self) -> None:
        free = free_ports(2)
        self.port = int(os.environ.get("PORT") or free[0])
        self._controller_port = int(os.environ.get("CONTROLLER_PORT") or free[1])
        self.address = f"127.0.0.1:{self.port}"

    def start_fresh(self) -> None:
        """Start it without data.

        Raises:
            NoBrokerError: Java or Maven is missing, or the node does not start.
        """
        missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
        if missing:
            raise NoBrokerError(f"no real broker: {' and '.join(missing)} missing")
        if self._run("start", "--fresh") != 0:
            raise NoBrokerError(f"{SCRIPT.name} could not start a broker (its words are above)")

    def start(self) -> None:
        """Start it with the data that it has, as after a crash or a stop."""
        starts = (self._run("start") for _ in range(START_TRIES))
        assert any(code == 0 for code in starts), "the broker did not start again"

    def stop(self) -> None:
        """End it as an administrator would."""
        assert self._run("stop") == 0

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, and wait until nobody listens any more."""
        os.kill(self._pid(), signal.SIGKILL)
        wait_for(lambda: not self._listens(), 30, lambda: "the killed broker still listens")

    def forget(self) -> None:
        """Stop it and delete its data."""
        self._run("forget")

    def _pid(self) -> int:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home = Path(os.environ.get("SPANLOOM_KAFKA_HOME") or cache / "spanloom-kafka")
        return int((home / f"node-{self.port}" / "pid").read_text())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _run(self, *words: str) -> int:
        # The node inherits these descriptors: a pipe here would stay open as long as it runs.
        environment = {
            **os.environ,
            "PORT": str(self.port),
            "CONTROLLER_PORT": str(self._controller_port),
        }
        done = subprocess.run(
            [SCRIPT, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=START_SECONDS_MAX,
            check=False,
        )
        return done.returncode
