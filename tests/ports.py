"""Ports of the loopback for servers under test: free now, and nobody else's later.

A port that the system gives by itself (bind to 0) lies in the range from which it also gives every
outgoing connection its own: by the time a server listens, or while one is down to come back on the
same port, a connection of anybody may sit there. These lie below that range, and a lock keeps the
tests of other processes away from them for as long as this one lives.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

LOWEST: Final = 12_000
HIGHEST: Final = 32_767
TRIES: Final = 1_000
_GIVEN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nothing listens on and that no other test is given."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return so many ports, one beside the other."""
    chance = random.SystemRandom()  # processes that seed alike must not look at the same ones
    highest = _highest()
    for _ in range(TRIES):
        first = chance.randrange(LOWEST, highest - count)
        found = list(range(first, first + count))
        if _take(found):
            return found
    raise AssertionError(f"no {count} free ports between {LOWEST} and {highest}")


def _highest() -> int:
    """Return the port from which on the system gives connections theirs, if that leaves enough."""
    try:
        given = int(_GIVEN.read_text("ascii").split()[0])
    except FileNotFoundError:  # no Linux
        return HIGHEST
    return given if given > LOWEST + TRIES else HIGHEST


def _take(ports: list[int]) -> bool:
    """Lock ports until this process ends; return whether all of them were free."""
    folder = Path(tempfile.gettempdir()) / f"spanloom-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    locks = [os.open(folder / str(port), os.O_CREAT | os.O_RDWR) for port in ports]
    try:
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for port in ports:
            with socket.socket() as one:
                one.bind(("", port))  # on all addresses: who listens on one of them has the port
    except OSError:
        for lock in locks:
            os.close(lock)
        return False
    return True
