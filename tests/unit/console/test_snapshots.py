"""An export holds its question: what comes in between two pages is on none of them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.console.archive.archive import Archive
from streams.console.questions.snapshots import Snapshot, snapshot_of, text_of
from streams.errors import ConfigError
from streams.runtime import topics
from streams.units import HOUR_US
from tests.unit.console.at_hand import SECOND, T0_US, TELEMETRY, archive_in, event, message, trace
from tests.unit.console.test_questions import RANGE, Post, ask_of

LIMIT = 5
WHOLE: dict[str, Any] = {"time_range": RANGE}
LATER_MS = (T0_US + 3 * HOUR_US) // 1_000


class Growing:
    """An archive that grows: events of a topic, traces with ever more revisions."""

    def __init__(self, archive: Archive, seed: int) -> None:
        self.archive, self._chance = archive, random.Random(seed)
        self._next = {TELEMETRY: 0, topics.TRACES: 0}
        self._spans: dict[str, list[dict[str, Any]]] = {}

    def grow(self, count: int) -> None:
        """Take in some more, at times before and after those that there are."""
        for _ in range(count):
            kind = self._chance.choice(("log", "audit", "span"))
            id_ = f"{self._chance.getrandbits(128):032x}"
            one = event(
                kind,
                event_id=f"{id_[:8]}-0000-4000-8000-{id_[8:20]}",
                timestamp=T0_US + self._chance.randrange(40) * SECOND,
                record_id=f"rec-{self._chance.randrange(2)}",
                trace_id=f"{self._chance.randrange(1, 5):032x}",
                correlation_id="",
                links=[],
            )
            if kind == "span":
                spans = self._spans.setdefault(one["trace_id"], [])
                spans.append(one)
                start = min(span["timestamp"] for span in spans)
                whole = trace(one["trace_id"], revision=len(spans), spans=spans, start=start)
                self._take(topics.TRACES, whole)
            else:
                self._take(TELEMETRY, one)
                if self._chance.random() < 0.3:
                    self._take(TELEMETRY, one)  # sent again

    def _take(self, topic: str, record: dict[str, Any]) -> None:
        self.archive.take(message(topic, self._next[topic], record))
        self._next[topic] += 1

    def write(self) -> None:
        """Write what is in memory."""
        self.archive.write_due(all_of_it=True)

    def merge(self) -> None:
        """Merge files of before a page with files of after it."""
        self.write()
        self.archive.merge(LATER_MS * 1_000)


def pages(post: Post, asked: dict[str, Any], between: Callable[[], None]) -> list[dict[str, Any]]:
    """Return all pages of an answer; something happens after each."""
    found: list[dict[str, Any]] = []
    token = ""
    while not found or token:
        more = {"continuation_token": token} if token else {}
        answer = post("/api/v1/audit/query", WHOLE | asked | {"limit": LIMIT} | more)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        token = found[-1]["continuation_token"]
        between()
    return found


@pytest.mark.parametrize("step", ["write", "nothing", "merge"])
@pytest.mark.parametrize("asked", [{}, {"record_ids": ["rec-1"]}, {"event_types": ["TRACE"]}])
def test_pages_are_of_one_moment(tmp_path: Path, asked: dict[str, Any], step: str) -> None:
    """All pages together are what one long page was, whatever came, was written or merged since."""
    growing = Growing(archive_in(tmp_path, rows=13, merge_files=2), len(step))
    growing.grow(60)

    def between() -> None:
        growing.grow(11)
        if step != "nothing":
            getattr(growing, step)()

    with ask_of(growing.archive) as post:
        whole = post("/api/v1/audit/query", WHOLE | asked | {"limit": 1_000}).json()
        found = pages(post, asked, between)
        assert len(found) > 2
        entries = [one["event_id"] for page in found for one in page["entries"]]
        assert entries == [one["event_id"] for one in whole["entries"]]
        assert {page["total_count"] for page in found} == {len(entries)}
        assert len({page["as_of"] for page in found}) == 1
        now = post("/api/v1/audit/query", WHOLE | asked | {"limit": 1_000}).json()
        assert now["total_count"] > len(entries)
        assert now["as_of"] > found[0]["as_of"]


def test_a_console_that_has_not_read_it_again_says_so(tmp_path: Path) -> None:
    """After a kill what was in memory is read anew; until then a page would lack it."""
    growing = Growing(archive_in(tmp_path), 1)
    growing.grow(20)
    growing.write()
    growing.grow(20)
    question = WHOLE | {"limit": LIMIT}
    with ask_of(growing.archive) as post:
        token = post("/api/v1/audit/query", question).json()["continuation_token"]
    with ask_of(archive_in(tmp_path)) as post:
        answer = post("/api/v1/audit/query", question | {"continuation_token": token})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "reads again" in answer.json()["error"]
        assert post("/api/v1/audit/query", question).status_code == 200


def test_a_snapshot_is_what_its_text_says() -> None:
    """Partitions without a row are those with 0; a thousand partitions are a few KB."""
    ends = {("b", 1): 7, ("a", 0): 1 << 40}
    found = snapshot_of(text_of(Snapshot(T0_US, {"spans": ends, "events": {}})))
    assert found == Snapshot(T0_US, {"spans": {**ends, ("b", 0): 0}, "events": {}})
    many = {(f"telemetry.module{n % 10}.v1", n // 10): 10**9 + 7_919 * n for n in range(1_000)}
    assert len(text_of(Snapshot(T0_US, {"spans": {}, "events": many}))) < 12_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "AAAA",
        text_of(Snapshot(-1, {})),
        text_of(Snapshot(1, {"spans": {("a", 0): -1}})),
        text_of(Snapshot(1, {"spans": {("a", 0): 1 << 70}})),
        text_of(Snapshot(1, {"spans": {("a", 0): "1"}})),  # type: ignore[dict-item]
        text_of(Snapshot(1, {"x" * (2 << 20): {("a", 0): 1}})),
    ],
)
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    """Whoever wrote it, and however much it unpacks to."""
    with pytest.raises(ConfigError, match="continuation_token"):
        snapshot_of(text)
