"""The bounds of the interface: each acts, is told, and is counted."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.api import BODY_BYTES_MAX, Interface, application
from streams.console.limits import Question, TimeLimitError, TooMuchError
from streams.console.paths import path as described
from streams.console.questions.queries import ALL, Queries, Spill
from streams.runtime import topics
from streams.serving.bounds import BusyError, Pace, Room
from tests.unit.console.asking import asked
from tests.unit.console.at_hand import archive_in, message, trace
from tests.unit.console.open_to_all import open_to_all

ROWS = 8_000_000
"""Too many to be sorted in 64 MiB."""
ENDLESS = (
    "SELECT count(*) AS n FROM traces, range(1000000) a, range(1000000) b "
    "WHERE (a.range * b.range + 1) % 7 = 3"
)


def asking(interface: Interface, *asks: described.Ask) -> Any:
    """Return an application of some questions, /0, /1, ..."""
    paths = [described.Path(f"/{n}", "A question.", (), ask) for n, ask in enumerate(asks)]
    return application(interface, {}, paths)


async def get(app: Any, *paths: str) -> list[httpx.Response]:
    """Return the answers of paths that are asked at once."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
        return list(await asyncio.gather(*(one.get(path) for path in paths)))


def endless(queries: Queries, _: dict[str, Any], __: Mapping[str, str]) -> Any:
    return queries.ask(ENDLESS, (), {"traces": ALL})


def test_a_question_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """503 that says so; the thread is free again, and the next question is answered."""
    archive = archive_in(tmp_path)
    archive.take(message(topics.TRACES, 0, trace()))
    with ThreadPoolExecutor(1) as workers:
        interface = open_to_all(Queries(archive, 256 << 20, 1), workers, query_seconds=1.5)
        app = asking(interface, endless)
        (answer,) = asyncio.run(get(app, "/0"))
        assert answer.status_code == 503
        assert "stopped after 1.5 s" in answer.json()["error"]
        assert interface.meters.refused["query_seconds"] == 1
        (next_,) = asyncio.run(get(app, "/api/v1/incidents"))
        assert next_.status_code == 200


def test_time_runs_over_all_statements_of_a_question(tmp_path: Path) -> None:
    """A question of many short statements is stopped too, between two of them."""
    archive = archive_in(tmp_path)
    queries = Queries(archive, 256 << 20, 1)
    question = Question(0.2, 1 << 30)

    def many() -> None:
        with question.asked():
            while True:
                queries.ask("SELECT 1 AS n FROM traces", (), {"traces": ALL})

    with pytest.raises(TimeLimitError):
        many()
    assert queries.ask("SELECT count(*) AS n FROM traces", (), {"traces": ALL}) == [{"n": 0}]


def test_a_question_that_needs_too_much_memory_is_told(tmp_path: Path) -> None:
    """503 that says so, counted; the next one has memory again."""
    archive = archive_in(tmp_path)
    archive.take(message(topics.TRACES, 0, trace()))

    def sorting(queries: Queries, _: dict[str, Any], __: Mapping[str, str]) -> Any:
        order = "SELECT max(n) AS n FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS n"
        statement = f"{order} FROM range({ROWS})) WHERE (SELECT count(*) FROM traces) > 0"
        return queries.ask(statement, (), {"traces": ALL})

    with ThreadPoolExecutor(1) as workers:
        interface = open_to_all(Queries(archive, 64 << 20, 1), workers)
        app = asking(interface, sorting)
        (answer,) = asyncio.run(get(app, "/0"))
        assert answer.status_code == 503, answer.text
        assert "more memory" in answer.json()["error"]
        assert interface.meters.refused["query_memory"] == 1
        assert asyncio.run(get(app, "/api/v1/incidents"))[0].status_code == 200


def test_a_question_spills_no_more_than_it_may(tmp_path: Path) -> None:
    """Into the folder that is named for it, where a mark stays; with too little it is told."""
    archive = archive_in(tmp_path / "archive")
    archive.take(message(topics.TRACES, 0, trace()))
    order = "SELECT max(n) AS n FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS n"
    statement = f"{order} FROM range({ROWS})) WHERE (SELECT count(*) FROM traces) > 0"
    enough = Queries(archive, 64 << 20, 1, Spill(tmp_path / "spill", 1 << 30))
    assert enough.ask(statement, (), {"traces": ALL}) == [{"n": ROWS}]
    left = list((tmp_path / "spill").glob("*"))
    assert left
    assert sum(file.stat().st_size for file in left) < 1_000
    few = Queries(archive, 64 << 20, 1, Spill(tmp_path / "few", 8 << 20))
    with pytest.raises(duckdb.OutOfMemoryException):
        few.ask(statement, (), {"traces": ALL})


def test_what_is_read_to_find_an_answer_is_bounded_too(tmp_path: Path) -> None:
    """Rows by an id are read from files before they are asked: as soon as they are too many."""
    archive = archive_in(tmp_path, rows=1)
    for n in range(40):
        archive.take(message(topics.TRACES, n, trace(f"{n:032x}", flow="x" * 20_000)))

    def read() -> int:
        return len(archive.look("traces", None, {"record_ids": ["rec-1"]}).tail)

    assert read() == 40
    with Question(30, 1 << 20).asked():
        assert read() == 40
    with Question(30, 1 << 10).asked(), pytest.raises(TooMuchError):
        read()


def test_who_comes_while_too_many_wait_is_sent_away(tmp_path: Path) -> None:
    """503 with Retry-After; those that wait are answered."""
    go = threading.Event()
    archive = archive_in(tmp_path)

    def slow(*_: Any) -> Any:
        go.wait(240)
        return {}

    with ThreadPoolExecutor(1) as workers:
        queries = Queries(archive, 256 << 20, 1)
        limits = {"questions_waiting_max": 2, "query_threads": 1}
        interface = open_to_all(queries, workers, **limits)
        app = asking(interface, slow)

        async def scene() -> list[httpx.Response]:
            threading.Timer(0.5, go.set).start()
            return await get(app, *["/0"] * 5)

        answers = asyncio.run(scene())
        assert sorted(a.status_code for a in answers) == [200] * 3 + [503] * 2
        assert {a.headers["retry-after"] for a in answers if a.status_code == 503} == {"1"}
        assert interface.meters.refused["questions_waiting"] == 2
        assert interface.questions_waiting.taken == 0


def test_one_client_does_not_fill_the_queue_of_others(tmp_path: Path) -> None:
    """Beyond sixteen it is sent away, while another one is answered."""
    go = threading.Event()
    archive = archive_in(tmp_path)

    def slow(*_: Any) -> Any:
        go.wait(240)
        return {}

    async def many(app: Any, client: str, count: int) -> list[int]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
            answers = await asyncio.gather(*(one.get("/0") for _ in range(count)))
            return [answer.status_code for answer in answers]

    with ThreadPoolExecutor(1) as workers:
        interface = open_to_all(Queries(archive, 256 << 20, 1), workers)
        app = asking(interface, slow)

        async def scene() -> tuple[list[int], list[int]]:
            threading.Timer(0.5, go.set).start()
            first, second = await asyncio.gather(many(app, "a", 20), many(app, "b", 3))
            return first, second

        first, second = asyncio.run(scene())
        assert sorted(first) == [200] * 16 + [503] * 4
        assert second == [200] * 3
        assert interface.meters.refused["waiting_of_one"] == 4


def test_one_client_holds_up_nobody_else(tmp_path: Path) -> None:
    """However much it asks, and however long that takes, another one is answered at once."""
    go, archive = threading.Event(), archive_in(tmp_path)
    order: list[str] = []

    def slow(*_: Any) -> Any:
        assert go.wait(240)
        return {}

    async def ask(app: Any, client: str, path: str) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
            assert (await one.get(path)).status_code == 200
        order.append(client)

    with ThreadPoolExecutor(2) as workers:
        interface = open_to_all(Queries(archive, 256 << 20, 1), workers, query_threads=2)
        app = asking(interface, slow, lambda *_: {})

        async def scene() -> None:
            slow_ones = [asyncio.ensure_future(ask(app, "a", "/0")) for _ in range(8)]
            await asyncio.sleep(0.2)
            await ask(app, "b", "/1")
            go.set()
            await asyncio.gather(*slow_ones)

        asyncio.run(scene())
    assert order == ["b", *["a"] * 8]
    assert interface._turns == {}


def test_an_answer_of_too_many_bytes_is_not_made(tmp_path: Path) -> None:
    """400 that says what to do, as soon as it is known; a smaller one is made."""
    archive = archive_in(tmp_path)

    def large(queries: Queries, _: dict[str, Any], __: Mapping[str, str]) -> Any:
        statement = "SELECT repeat('x', 1000000) AS t FROM range(1000)"
        return queries.ask(f"{statement} UNION ALL SELECT flow FROM traces", (), {"traces": ALL})

    with ThreadPoolExecutor(1) as workers:
        queries = Queries(archive, 2 << 30, 1)
        interface = open_to_all(queries, workers, result_bytes_max=150_000_000)
        app = asking(interface, large, lambda *_: {"text": "x" * 3_000_000})
        big, small = asyncio.run(get(app, "/0", "/1"))
        assert big.status_code == 400
        assert "ask for fewer" in big.json()["error"]
        assert interface.meters.refused["result_bytes"] == 1
        assert small.json() == {"text": "x" * 3_000_000}
        assert interface.held.taken == 0


def test_answers_that_nobody_takes_are_bounded(tmp_path: Path) -> None:
    """What is made and not taken counts; beyond the bound nothing more is made for others."""
    archive = archive_in(tmp_path)
    with ThreadPoolExecutor(1) as workers:
        queries = Queries(archive, 256 << 20, 1)
        interface = open_to_all(queries, workers, answers_bytes_max=1 << 20)
        app = asking(interface, lambda *_: "x" * 600_000)
        stuck = asyncio.Event()

        async def take_nothing(message: Any) -> None:
            if message["type"] == "http.response.body":
                await stuck.wait()

        async def scene() -> list[int]:
            scope = {
                "type": "http", "method": "GET", "path": "/0", "raw_path": b"/0",
                "query_string": b"", "headers": [(b"host", b"localhost")], "client": ("a", 1),
            }  # fmt: skip

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            slow = asyncio.ensure_future(app(scope, receive, take_nothing))
            while not interface.held.taken:
                await asyncio.sleep(0.01)
            (refused,) = await get(app, "/0")
            stuck.set()
            await slow
            (taken,) = await get(app, "/0")
            return [refused.status_code, taken.status_code]

        assert asyncio.run(scene()) == [503, 200]
        assert interface.meters.refused["held_answers"] == 1
        assert interface.held.taken == 0


def test_a_body_has_an_end(tmp_path: Path) -> None:
    """413 beyond a mebibyte, however it is sent."""
    with asked(tmp_path, auth="none") as console:
        path = f"/api/v1/incidents/{'c' * 32}/commands"
        answer = console.ask(path, "POST", content=b"x" * (BODY_BYTES_MAX + 1))
        assert answer.status_code == 413
        assert console.meters.refused["body_bytes"] == 1


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
    st.floats(0.1, 10),
    st.integers(1, 10),
)
def test_a_pace_lets_through_no_more_than_it_says(
    gaps: list[float], per_second: float, burst: int
) -> None:
    """In any span of time at most burst and what came back in it; who waited as told gets one."""
    pace = Pace(per_second, burst)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        wait_seconds = pace.take("a", now)
        if wait_seconds == 0:
            taken.append(now)
        else:
            assert pace.wait_seconds("a", now + wait_seconds + 1e-6) == 0
    for n, first in enumerate(taken):
        for m in range(n, len(taken)):
            assert m - n + 1 <= burst + (taken[m] - first) * per_second + 1e-6


def test_a_pace_forgets_whom_it_has_not_seen_for_longest() -> None:
    """However many come, so many are remembered."""
    pace = Pace(1, 1, clients=3)
    for n in range(100):
        assert pace.take(f"client {n}", 0) == 0
    assert len(pace) == 3
    assert pace.take("client 99", 0) > 0


def test_room_is_taken_whole_or_not_at_all() -> None:
    """A refusal takes nothing."""
    room = Room(10, "why", "words")
    room.take(7)
    with pytest.raises(BusyError):
        room.take(4)
    room.take(3)
    room.leave(10)
    assert room.taken == 0
