"""The reader's thread says why it ended, whatever ended it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polars.exceptions import PanicException
from structlog.testing import capture_logs

from streams.codec.otlp.requests import METRICS
from streams.console.archive import reader as reader_module
from streams.console.archive.archive import Archive
from streams.console.archive.otlpcolumns import OtlpSource
from streams.console.archive.reader import Reader
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.errors import StateError
from streams.runtime import topics
from streams.runtime.link import Link
from streams.runtime.reading import Message, Span
from tests.unit.console.at_hand import archive_in, message, trace


class OneRecord:
    """A reading of topics that have one record together."""

    def __init__(self, _: Link) -> None:
        self.ended: dict[Any, int] = {}

    def __enter__(self) -> "OneRecord":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def known(self, names: list[str]) -> list[str]:
        return names

    def topics(self) -> dict[str, int]:
        return dict.fromkeys((topics.TRACES, *reader_topics()), 1)

    def spans(self, names: list[str]) -> dict[tuple[str, int], Span]:
        return {(name, 0): Span(0, 1) for name in names}

    def ends(self, places: Any) -> dict[tuple[str, int], int]:
        return dict.fromkeys(places, 1)

    def batches(self, starts: dict[Any, int], count: int, needed: Any) -> Iterator[list[Message]]:
        assert count
        assert needed([], []) == []
        yield [message(topics.TRACES, 0, trace())]
        while True:
            yield []


def test_topics_of_an_exporter_that_nobody_named_are_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in them would be missed; of spans nothing is, and a named one is read."""

    class Beside(OneRecord):
        def topics(self) -> dict[str, int]:
            named = ("otlp_spans", "otlp_logs", "otlp_metrics")
            return super().topics() | dict.fromkeys(named, 1)

    monkeypatch.setattr(reader_module, "Reading", Beside)
    link, source = Link.plain("127.0.0.1:1"), OtlpSource({"otlp_metrics": METRICS})
    archive = Archive(Store(str(tmp_path)), Limits(), otlp=source)
    reader = Reader(archive, link)
    with capture_logs() as logged, Beside(link) as reading:
        for _ in range(2):
            assert "otlp_metrics" in reader._topics(reading)  # type: ignore[arg-type]
    (told,) = [one for one in logged if one["event"] == "otlp_topics_unread"]
    assert told["topics"] == ["otlp_logs"]
    assert "--otlp-topics" in told["fix"]


def reader_topics() -> tuple[str, ...]:
    return (topics.STATS, topics.ALERTS, topics.INCIDENTS, topics.REJECTED)


@pytest.mark.parametrize("bug", [TypeError("unforeseen"), PanicException("unforeseen")])
def test_a_bug_ends_the_console_with_its_reason(
    bug: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that dies in silence would look like an orderly end."""

    def broken(*_: Any) -> None:
        raise bug

    monkeypatch.setattr(reader_module, "Reading", OneRecord)
    monkeypatch.setattr(Archive, "take", broken)
    reader = Reader(archive_in(tmp_path), Link.plain("127.0.0.1:1"))
    reader.start()
    reader._thread.join(30)
    assert not reader.is_alive
    assert isinstance(reader.failed, StateError)
    said = str(reader.failed)
    assert f"failed: {type(bug).__name__} at streams/console/archive/reader.py:" in said
    assert "Operator action: report this" in said
    assert "unforeseen" not in said, "a bug's words may quote what it stumbled over"
