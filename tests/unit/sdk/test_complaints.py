"""What the SDK says in the program's log harms nobody."""

import io
import logging
from collections.abc import Iterator

import pytest

from streams.sdk.complaints import log
from tests.unit.sdk.senders import ListSender, kept, made


class _Full(logging.Handler):
    """A handler of a disk that is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left")


@pytest.fixture(autouse=True)
def full() -> Iterator[None]:
    handler = _Full()
    log.addHandler(handler)
    yield
    log.removeHandler(handler)


def test_a_log_that_fails_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the pipeline nor the emitter's thread ends with it; logging's own way tells of it."""
    t = made()
    senders = iter((None, ListSender))

    def make(counting: object) -> ListSender:
        found = next(senders)
        if found is None:
            raise ValueError("not yet")
        return found(counting)

    t.emitter._make_sender = make
    t.gauge("Depth!", 1)
    with t.span("alpha.parse"):
        pass
    assert [event["name"] for event in kept(t)] == ["alpha.parse"]
    assert t.close().refused == 1
    assert "no space left" in capsys.readouterr().err


def test_a_log_that_fails_where_nobody_listens_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon has closed its standard error: what is said there raises another error."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    t = made()
    t.gauge("Depth!", 1)
    assert t.close().refused == 1
