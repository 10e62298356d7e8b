"""Generators under `traced`: a span of the iteration, current in the body alone."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any

import pytest

from streams.sdk import Telemetry, current
from tests.unit.sdk.senders import kept, made


def by_name(t: Telemetry) -> dict[str, dict[str, Any]]:
    """Return the events that were sent, by name."""
    return {event["name"]: event for event in kept(t)}


def test_the_span_covers_the_iteration_and_not_its_reader() -> None:
    """What begins in the body is its child, over steps too; the reader's spans are the reader's."""
    with made() as t:

        @t.traced("rows", source_system="orders")
        def rows(n: int) -> Generator[int, str, str]:
            """Yield numbers."""
            said = []
            for i in range(n):
                with t.span("row"):
                    said.append((yield i))
                    t.span("late").end()
            return "".join(said)

        assert isgeneratorfunction(rows)
        assert (rows.__name__, rows.__doc__) == ("rows", "Yield numbers.")
        rows(3)  # without a step there is no span
        with t.span("reader") as reader:
            source = rows(2)
            assert next(source) == 0
            assert current() is reader
            t.span("between").end()
            assert source.send("a") == 1
            with pytest.raises(StopIteration) as end:
                source.send("b")
            assert end.value.value == "ab"
            assert current() is reader
        assert len(kept(t)) == 7
        found = by_name(t)
    rows_id = found["rows"]["span_id"]
    assert found["rows"]["parent_span_id"] == found["reader"]["span_id"]
    assert found["between"]["parent_span_id"] == found["reader"]["span_id"]
    assert found["row"]["parent_span_id"] == rows_id
    assert found["late"]["parent_span_id"] == found["row"]["span_id"]
    assert (found["rows"]["status"], found["rows"]["dimensions"]) == (
        "OK",
        {"source_system": "orders"},
    )
    assert found["rows"]["duration_us"] >= found["row"]["duration_us"]


def test_a_generator_ends_by_error_by_close_and_when_it_is_let_go() -> None:
    """An error of the body, or one that is thrown into it, is the span's; the others are none."""
    with made() as t:
        cleaned = []

        @t.traced("rows")
        def rows() -> Iterator[int]:
            try:
                yield 1
                yield 1 // 0
            except KeyError:
                yield 3
            finally:
                cleaned.append(current())

        with pytest.raises(ZeroDivisionError):
            list(rows())
        with closing(rows()) as source:
            assert next(source) == 1
            assert source.throw(KeyError()) == 3
        abandoned = rows()
        next(abandoned)
        del abandoned
        gc.collect()
        thrown = rows()
        next(thrown)
        with pytest.raises(ValueError, match="no more"):
            thrown.throw(ValueError("no more"))
        found = {e["span_id"]: e for e in kept(t)}
    # They are sent by trace: those of one flush come in any order.
    events = [found.pop(f"{at.span_id:016x}") for at in cleaned if at]
    assert not found
    assert [e["status"] for e in events] == ["ERROR", "OK", "OK", "ERROR"]
    assert [e["dimensions"].get("error_type", "") for e in events] == [
        "ZeroDivisionError", "", "", "ValueError",
    ]  # fmt: skip
    assert all("interrupted_by" not in e["dimensions"] for e in events)


def test_each_step_may_be_in_another_context() -> None:
    """As servers do that iterate in a pool of threads: children stay children."""
    with made() as t, ThreadPoolExecutor(1) as pool:

        @t.traced("rows")
        def rows() -> Iterator[int]:
            for i in range(3):
                with t.span(f"row{i}"):
                    yield i
                t.span(f"after{i}").end()

        source = rows()
        taken = [
            pool.submit(contextvars.copy_context().run, next, source, None).result()
            for _ in range(4)
        ]
        assert taken == [0, 1, 2, None]
        found = by_name(t)
    children = [found[f"{word}{i}"] for i in range(3) for word in ("row", "after")]
    assert {one["parent_span_id"] for one in children} == {found["rows"]["span_id"]}


def test_an_asynchronous_generator_is_a_span_too() -> None:
    """Exhausted, closed, failed, and cancelled in the middle of a step."""
    with made() as t:

        @t.traced("rows")
        async def rows(n: int) -> AsyncIterator[int]:
            for i in range(n):
                await asyncio.sleep(0)
                t.span(f"row{n}").end()
                yield 6 // (2 - i)
            if n == 1:
                await asyncio.sleep(60)

        assert isasyncgenfunction(rows)

        async def read() -> None:
            with t.span("reader") as reader:
                async for one in rows(2):
                    assert one in (3, 6)
                    assert current() is reader
            async with aclosing(rows(3)) as source:  # type: ignore[type-var]
                async for _ in source:
                    break
            with pytest.raises(ZeroDivisionError):
                [one async for one in rows(4)]
            task = asyncio.create_task(anext(second := rows(1)))
            assert await task == 3
            task = asyncio.create_task(anext(second))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert current() is None

        asyncio.run(read())
        events = kept(t)
    # They are sent by trace: those of one flush come in any order.
    found = sorted((e for e in events if e["name"] == "rows"), key=lambda e: int(e["timestamp"]))
    assert [e["status"] for e in found] == ["OK", "OK", "ERROR", "OK"]
    assert [e["dimensions"] for e in found] == [
        {}, {}, {"error_type": "ZeroDivisionError"}, {"interrupted_by": "CancelledError"},
    ]  # fmt: skip
    (reader,) = (e for e in events if e["name"] == "reader")
    assert found[0]["parent_span_id"] == reader["span_id"]
    parents = {e["name"]: e["parent_span_id"] for e in events if e["name"].startswith("row")}
    assert [parents[f"row{n}"] for n in (2, 3, 4, 1)] == [e["span_id"] for e in found]
