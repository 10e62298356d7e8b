"""The console beside a demonstration: where it is, why it is not, and that it goes."""

import socket
import time
from pathlib import Path

from streams.console.ordering import closed
from streams.demo.page import Page
from tests.ports import free_port


def test_none_is_none() -> None:
    """Port 0 asks for no page: nothing is started and nothing said."""
    with Page("127.0.0.1:9", "seed", 0) as page:
        assert page.words() == ""
        page.stay()


def test_a_taken_port_is_no_obstacle() -> None:
    """Another one is taken, and said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Page("127.0.0.1:9", "seed", port) as page:
            words = page.words()
    assert words.startswith("http://127.0.0.1:")
    assert words != f"http://127.0.0.1:{port}"


def test_a_console_that_ends_is_told() -> None:
    """With its exit code and its words: here for a contract that is not there."""
    with Page("127.0.0.1:9", "/nowhere.yaml", 1) as page:
        deadline = time.monotonic() + 240
        while page.words().startswith("http") and time.monotonic() < deadline:
            time.sleep(0.1)
        words = page.words()
        page.stay()
    assert words.startswith("no page, the console ended with 2: ")
    assert "/nowhere.yaml" in words


def test_orders_end_with_the_engine() -> None:
    """The console is told a file, and while that is there it takes no orders."""
    with Page("127.0.0.1:9", "seed", free_port()) as page:
        assert page._process is not None
        environment, told = Path(f"/proc/{page._process.pid}/environ"), [b""]
        while told == [b""]:  # the system says it a moment after the process began
            told = environment.read_bytes().split(b"\0")
        name = b"SPANLOOM_CONSOLE_ORDERS_CLOSED_FILE="
        (file,) = [Path(one.removeprefix(name).decode()) for one in told if one.startswith(name)]
        assert closed(file) == ""
        page.close_orders()
        assert closed(file).startswith("the demonstration is over")
