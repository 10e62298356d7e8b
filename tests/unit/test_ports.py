"""Ports of tests lie where no connection gets its own, and no two tests are given one."""

import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from tests import ports

ANOTHER = """
import sys
from tests import ports
ports.LOWEST = int(sys.argv[1])
ports._highest = lambda: ports.LOWEST + 2
ports.free_port()
"""


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the only port that there is: free, and given to nobody yet."""
    while True:
        port = ports.free_port() + 1
        with suppress(OSError), socket.socket() as one:
            one.bind(("", port))
            break
    monkeypatch.setattr(ports, "LOWEST", port)
    monkeypatch.setattr(ports, "_highest", lambda: port + 2)
    return port


def test_they_lie_beside_each_other_below_those_of_connections() -> None:
    """A connection that somebody opens meanwhile cannot be given one of them."""
    found = ports.free_ports(3)
    assert found == list(range(found[0], found[0] + 3))
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        assert given.getsockname()[1] > found[-1]


def test_what_was_given_is_given_to_nobody_else(only: int) -> None:
    """Neither by this process nor by another one, though nothing listens there yet."""
    assert ports.free_port() == only
    with pytest.raises(AssertionError, match="no 1 free ports"):
        ports.free_port()
    command = [sys.executable, "-c", ANOTHER, str(only)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "no 1 free ports" in other.stderr


def test_where_somebody_listens_is_not_free(only: int) -> None:
    """On any address: a server on one of them has the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", only))
        taken.listen()
        with pytest.raises(AssertionError, match="no 1 free ports"):
            ports.free_port()
