"""Whatever a pipeline gives: nothing raises or is mistaken, and what does not fit is counted."""

import asyncio
import contextvars
import copy
import enum
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest

from streams.codec.records import decode
from streams.errors import ConfigError
from streams.sdk import Context, MessageHeader, Span, Telemetry, current
from streams.sdk.span import ERROR
from tests.unit.sdk.senders import kept, made

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Lazy:
    """As the proxies of web frameworks are where there is no request."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("working outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request")

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __float__(self) -> float:
        raise KeyError("value")

    def __hash__(self) -> int:
        raise RuntimeError("working outside of a request")

    def __str__(self) -> str:
        raise RuntimeError("working outside of a request")


LAZY: Any = Lazy()
TEXT: Any = "no context"
LIST: Any = ["a", "list"]
CALLS: dict[str, Callable[[Telemetry], object]] = {
    "dimension": lambda t: t.span("x", user=LAZY).end(),
    "parent": lambda t: t.span("x", parent=LAZY).end(),
    "ids": lambda t: t.span("x", record_id=LAZY, batch_id=LAZY, correlation_id=LAZY).end(),
    "kind": lambda t: t.span("x", LAZY).end(),
    "name": lambda t: t.span(LAZY).end(),
    "set": lambda t: t.span("x").set(LAZY, LAZY).end(),
    "about": lambda t: t.span("x").about(record_id=LAZY, actor=LAZY).end(),
    "carry": lambda t: t.span("x").carry(user=LAZY).end(),
    "link": lambda t: t.span("x").link(LAZY).end(),
    "fail": lambda t: t.span("x").fail(LAZY),
    "gauge": lambda t: t.gauge("x", LAZY),
    "beyond a float": lambda t: t.gauge("x", 10**400),
    "unit": lambda t: t.gauge("x", 1, LAZY),
    "unit of a counter": lambda t: t.count("x_total", unit=LIST),
    "ratio": lambda t: t.observe("x", 1, sample_ratio=LAZY),
    "severity": lambda t: t.log("x", LIST),
    "log": lambda t: t.log(LAZY, LAZY, value=LAZY, unit=LAZY, user=LAZY),
    "audit": lambda t: t.audit(LAZY, LAZY, actor=LAZY, record_id=LAZY),
    "within": lambda t: (t.within(TEXT).__enter__(), t.span("x").end()),
    "inject": lambda t: t.inject(LAZY),
    "inject context": lambda t: t.inject({}, TEXT),
    "kafka headers": lambda t: t.kafka_headers(TEXT),
    "extract": lambda t: t.extract(LAZY),
    "extract midway": lambda t: t.extract(iter(lambda: 1 // 0, None)),
    "header": lambda t: t.header("BETA", "ACK").encode(),
    "header context": lambda t: t.header(LAZY, LAZY, LAZY).encode(),
    "failed": lambda t: t.failed(LAZY, TEXT).headers(),
    "recover": lambda t: t.recover("x", LAZY).end(),
    "header without a type": lambda _: MessageHeader.read({}).encode(),
    "header of another time": lambda _: MessageHeader.read({"timestamp": 1 << 70}).encode(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_raises(call: Callable[[Telemetry], object]) -> None:
    """An object that raises whatever is done with it costs what it is given for, at most."""
    t = made(report_seconds=0.1)
    t.emitter.complain = lambda _key, _text: None
    contextvars.copy_context().run(call, t)
    with t.span("after"):
        pass
    assert kept(t)[-1]["name"] == "after"
    counts = t.close()
    assert counts.made == counts.sent
    assert counts.dropped == {}


def test_a_strict_telemetry_refuses_what_is_none() -> None:
    """Kinds, contexts and types of messages that are none: ValueError in a pipeline's own tests."""
    calls: list[Callable[[Telemetry], object]] = [
        lambda t: t.span("x", TEXT),
        lambda t: t.span("x", parent=TEXT),
        lambda t: t.kafka_headers(TEXT),
        lambda t: t.header("BETA", "ACK"),
    ]
    with made(strict=True) as t:
        for call in calls:
            with pytest.raises(ValueError, match=r"kind|context|type"):
                call(t)


def test_texts_are_bounded_wherever_they_stand() -> None:
    """Names and ids are cut and counted where they are given: they are held until they are sent."""
    with made() as t:
        long: Any = "r" * 5_000
        with t.span(long, record_id=long, batch_id=long, **{long: "v"}) as span:
            span.about(actor=long).set(long + "s", "w")
        t.log(long)
        t.audit("x", long, actor=long)
        for text in (span.name, span.record_id, span.batch_id, span.actor):
            assert len(text) == 1_024
        assert span.dimensions == {"r" * 256: "w"}
        assert t.counts().cut == 8
        assert {len(event["name"]) for event in kept(t)} == {1_024, 1}


def test_dimensions_that_are_set_one_by_one_are_bounded() -> None:
    """As those that are given at once; how a span ended is said all the same."""
    with made() as t:
        with suppress(OSError), t.span("x") as span:
            for n in range(100):
                span.set(f"k{n}", n)
            span.set("k0", "again")
            raise OSError
        dimensions = span.dimensions or {}
        assert len(dimensions) == 65
        assert (dimensions["k0"], dimensions["error_type"]) == ("again", "OSError")
        assert t.counts().cut == 36


def test_a_span_weighs_what_it_holds() -> None:
    """A value that is set again and again counts once, and links count too."""
    t = made()
    span = t.span("x")
    for n in range(100):
        span.set("progress", f"{n:1000}")
    assert span.characters == 1_008
    span.link(*(Context(n + 1, 1) for n in range(10))).link(Context(1, 1))
    assert span.characters == 1_008 + 11 * 48


@pytest.mark.parametrize(("given", "found"), [(0, "0"), (None, "outer"), ("", "outer"), (7, "7")])
def test_an_id_may_be_a_number(given: Any, found: str) -> None:
    """0 is one; None and an empty text are none, and what holds goes on."""
    t = made()
    with t.span("x", record_id="outer"):
        assert t.span("y", record_id=given).record_id == found


def test_points_say_which_record_they_are_about() -> None:
    """Ids are fields of a log or audit event, given by it or by the span around it."""

    class Action(enum.Enum):
        READ = 1

    action: Any = Action.READ
    with made() as t:
        with t.span("x", record_id="r1", correlation_id="c1"):
            t.audit("read", "READ", correlation_id="c2")
        t.audit("read", action, record_id=3, actor=action)
        t.log("line", batch_id="b1", region="eu")
        found = [e for e in kept(t) if e["name"] != "x"]
    assert [(e["record_id"], e["batch_id"], e["correlation_id"]) for e in found] == [
        ("r1", "", "c2"),
        ("3", "", ""),
        ("", "b1", ""),
    ]
    assert (found[1]["operation"], found[1]["actor"]) == ("Action.READ", "Action.READ")
    assert found[2]["dimensions"] == {"region": "eu"}


@pytest.mark.parametrize("error", ["a text", OSError], ids=["text", "type"])
def test_a_span_that_is_failed_by_no_exception_has_failed(error: Any) -> None:
    """It is no cancellation."""
    span = made().span("x")
    span.fail(error)
    assert span.status == ERROR
    assert (span.dimensions or {}) == ({} if error == "a text" else {"error_type": "OSError"})


def test_one_counter_per_component() -> None:
    """However often its telemetry is asked for, its total goes on."""
    t = made(report_seconds=3_600)
    for _ in range(3):
        t.component("reader").count("lines_total")
        t.module("BETA", "writer").count("lines_total")
    t.close()
    sender: Any = t.emitter.sender
    told = {e["name"]: e["value"] for e in sender.events if e["name"].endswith("lines_total")}
    assert told == {
        "pipeline.alpha.reader.counter.lines_total": 3,
        "pipeline.beta.writer.counter.lines_total": 3,
    }
    assert t.component("parser") is t


def test_headers_that_are_there_are_replaced() -> None:
    """A message that is passed on has one traceparent: of two a receiver takes neither."""
    t = made()
    with t.span("x") as span:
        kafka: list[Any] = [("key", b"v"), ("Traceparent", PARENT.encode()), ("baggage", b"a=1")]
        asgi: list[Any] = [(b"traceparent", PARENT.encode()), (b"host", b"example.org")]
        assert t.inject(kafka) is kafka
        t.inject(asgi)
        texts = t.inject([("host", "example.org")])
        own = t.inject()[0][1]
    assert kafka == [("key", b"v"), ("traceparent", own.encode())]
    assert asgi == [(b"host", b"example.org"), (b"traceparent", own.encode())]
    assert texts == [("host", "example.org"), ("traceparent", own)]
    assert t.extract(kafka).span_id == t.extract(asgi).span_id == span.span_id


def test_headers_of_pythons_own_http_are_read() -> None:
    """They are no mapping, and yield names alone."""
    headers = Message()
    headers["Traceparent"] = PARENT
    assert made().extract(headers).span_id == 0xB7AD6B7169203331  # type: ignore[arg-type]


def test_a_header_says_when_it_was_made() -> None:
    """Readers of Avro make a time of its number; where it says none, no age is told."""
    at = datetime.fromtimestamp(time.time() - 100, UTC)
    for given in (at, at.replace(tzinfo=None), int(at.timestamp() * 1e6)):
        assert 100 <= MessageHeader.read({"timestamp": given}).age_us / 1e6 < 200
    assert MessageHeader.read({}).age_us == 0


def test_a_header_carries_as_much_baggage_as_other_hops() -> None:
    """Whole values, and what is beyond is counted, on its way out and in."""
    with made() as t, t.span("x") as span:
        span.carry(user="u" * 3_000, note="n" * 6_000)
        header = t.header("BETA")
        assert header.baggage["user"] == "u" * 3_000
        assert "note" not in header.baggage
        assert decode(header.encode())["baggage"]["user"] == "u" * 3_000
        assert t.counts().baggage_cut == 1
    many = MessageHeader.read({"baggage": {f"k{n}": "v" for n in range(1_000)}})
    assert len(many.context.baggage or {}) == 180


def _nested(*names: str) -> list[Span]:
    t = made()
    return [t.span(name).__enter__() for name in names]


def _leave(span: Span) -> None:
    span.__exit__(None, None, None)


@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
def test_spans_may_be_left_in_any_order(order: str) -> None:
    """After the last of them nothing is current; before, the innermost that is open."""

    def leave_all() -> None:
        spans = dict(zip("abc", _nested("a", "b", "c"), strict=True))
        for n, name in enumerate(order):
            _leave(spans[name])
            still_open = [spans[one] for one in "abc" if one not in order[: n + 1]]
            assert current() is (still_open[-1] if still_open else None)

    contextvars.copy_context().run(leave_all)


def test_a_span_around_a_context_may_be_left_first() -> None:
    """The context is current again after what began within it, and nothing after it."""

    def leave_all() -> None:
        t = made()
        at = Context(5, 6)
        outer, block, inner = t.span("outer"), t.within(at), t.span("inner")
        for one in (outer, block, inner):
            one.__enter__()
        _leave(outer)
        assert current() is inner
        _leave(inner)
        assert current() is at
        block.__exit__(None, None, None)
        assert current() is None

    contextvars.copy_context().run(leave_all)


def test_a_block_may_end_in_another_context() -> None:
    """As generators do that somebody else closes: in another thread or task."""
    t = made()

    def steps() -> Iterator[None]:
        with t.within(Context(5, 6, 1)), t.span("step"):
            yield

    async def async_steps() -> AsyncIterator[None]:
        with t.within(Context(5, 6, 1)), t.span("step"):
            yield

    async def abandon() -> None:
        await asyncio.create_task(anext(async_steps()))  # type: ignore[arg-type]

    left = steps()
    contextvars.copy_context().run(next, left)
    left.close()  # type: ignore[attr-defined]
    asyncio.run(abandon())
    assert current() is None
    assert [event["name"] for event in kept(t)] == ["step", "step"]


def test_tasks_that_outlive_their_span_stay_in_its_trace() -> None:
    """To have ended is not to be left early: what it began goes on."""
    t = made()

    async def later(span: Span) -> None:
        await asyncio.sleep(0)
        for _ in range(2):
            with t.span("later") as one:
                assert one.parent_id == span.span_id

    async def begin() -> None:
        with t.span("first") as span:
            task = asyncio.create_task(later(span))
        await task

    asyncio.run(begin())
    with ExitStack() as stack:
        stack.enter_context(t)
        assert len(kept(t)) == 3


@pytest.mark.parametrize(
    "given",
    [
        {"baggage_dimensions": "region"},
        {"baggage_dimensions": [1]},
        {"batch_schema_id": 2.5},
        {"queue_events_max": 1_000.5},
        {"sample_ratio": True},
        {"linger_seconds": "1"},
    ],
)
def test_an_option_of_another_type_is_refused_at_once(given: dict[str, Any]) -> None:
    """Each letter of a name would be one, and half an id would stop the emitter."""
    with pytest.raises(ConfigError, match=next(iter(given))):
        Telemetry("ALPHA", "parser", "x:1", **given)


def test_a_span_goes_to_another_process_as_a_context() -> None:
    """With a record that is pickled, or copied: never with the queue and the locks behind it."""
    t = made()
    with t.span("x", record_id="r1") as span:
        span.carry(region="eu")
        for found in (pickle.loads(pickle.dumps(span)), copy.deepcopy(span)):
            assert type(found) is Context
            assert t.inject({}, found) == t.inject({})


def test_a_span_that_is_entered_twice_leads_to_no_endless_walk() -> None:
    """By hand, or by a thread that runs in the context of another one."""

    def twice() -> None:
        t = made()
        x, a = t.span("x"), t.span("a")
        for one in (x, a, a):
            one.__enter__()
        for one in (x, a, a, x):
            _leave(one)
        t.span("b").__enter__()
        assert current() is not a

    contextvars.copy_context().run(twice)


def test_many_spans_left_in_the_order_of_their_beginning_cost_no_walk_each() -> None:
    """Messages in flight: whoever goes back passes over those that were left."""

    def in_order() -> None:
        t = made()
        spans = [t.span("one") for _ in range(1_000)]
        for one in spans:
            one.__enter__()
        for one in spans[:-1]:
            _leave(one)
            assert current() is spans[-1]
        _leave(spans[-1])
        assert current() is None

    contextvars.copy_context().run(in_order)


def test_a_full_baggage_leaves_the_trace_unsampled() -> None:
    """Flags of a message header lie in its baggage: they are the last to be cut, not the first."""
    t = made(sample_ratio=0.0)
    with t.span("alpha.send") as span:
        span.carry(**{f"k{n}": "v" for n in range(180)})
        header = t.header("BETA")
    assert not header.context.is_sampled
    assert not MessageHeader.read(asdict(header)).context.is_sampled


def test_headers_in_other_spellings_are_replaced() -> None:
    """Two of a name, or one in bytes, beside ours would be dropped by who reads them."""
    t = made()
    old = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    carrier: dict[Any, Any] = {"Traceparent": old, "traceparent": old, b"traceparent": old}
    with t.span("alpha.send"):
        t.inject(carrier)
    assert [name for name in carrier if name in ("Traceparent", b"traceparent")] == []
    assert carrier["traceparent"] != old


def test_a_recovered_record_says_its_attempt_whatever_else_it_says() -> None:
    """A dimension of that name is the number of the attempt."""
    t = made()
    with t.recover("alpha.again", {}, attempt="many", recovered="maybe") as span:
        assert span.dimensions == {"attempt": "2", "recovered": "true"}


class _Mute:
    """A name that can be told by nobody."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_a_name_without_words_is_refused() -> None:
    """In the message that says so, too."""
    t = made()
    t.gauge(_Mute(), "x")  # type: ignore[arg-type]
    t.count(_Mute(), -1)  # type: ignore[arg-type]
    assert t.counts().refused == 4
