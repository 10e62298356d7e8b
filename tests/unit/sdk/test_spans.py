"""Spans: parents, contexts over hops, errors, sampling, counters, error queues."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sdk import Context, ErrorEntry, MessageHeader, current
from streams.sdk.span import Span
from tests.unit.sdk.senders import kept, made

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Unprintable:
    """An object whose text is an error."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_child_has_its_parent_and_what_it_is_about() -> None:
    """Ids, record and baggage go from a span to what begins within it, and not beyond."""
    with made() as t:
        with t.span("alpha.connect", "SERVER", record_id="r-1", batch_id="b-1") as root:
            root.carry(region="eu")
            with t.component("parser").span("alpha.parse", attempt=2) as child:
                assert current() is child
            assert current() is root
        assert current() is None
        events = {e["name"]: e for e in kept(t)}
    parent, inner = events["alpha.connect"], events["alpha.parse"]
    assert inner["trace_id"] == parent["trace_id"]
    assert inner["parent_span_id"] == parent["span_id"]
    assert parent["parent_span_id"] == ""
    assert (inner["record_id"], inner["batch_id"]) == ("r-1", "b-1")
    assert inner["dimensions"] == {"attempt": "2"}
    assert child.baggage is not None
    assert child.baggage["region"].value == "eu"
    assert (parent["span_kind"], parent["status"], inner["component"]) == ("SERVER", "OK", "parser")


def test_an_exception_marks_the_span_and_goes_on() -> None:
    """Its type is told, its message is not; all spans around it have failed too."""
    with made() as t:
        with pytest.raises(ZeroDivisionError), t.span("outer"), t.span("inner"):
            _ = 1 / 0
        events = kept(t)
    assert [e["status"] for e in events] == ["ERROR", "ERROR"]
    assert [e["severity"] for e in events] == ["ERROR", "ERROR"]
    assert [e["dimensions"] for e in events] == [{"error_type": "ZeroDivisionError"}] * 2


def test_a_cancelled_task_is_no_error() -> None:
    """What ends a task from outside is told, and is no failure."""

    async def cancelled() -> None:
        with t.span("waiting"):
            await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.ensure_future(cancelled())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with made() as t:
        asyncio.run(run())
        (event,) = kept(t)
    assert (event["status"], event["dimensions"]) == ("OK", {"interrupted_by": "CancelledError"})


def test_tasks_and_threads_have_their_own_current_span() -> None:
    """Tasks of one loop do not get into each other's traces; a thread takes a context along."""

    async def one(n: int) -> None:
        with t.span("outer", record_id=f"r{n}"):
            await asyncio.sleep(0.001 * (n % 3))
            with t.span("inner"):
                await asyncio.sleep(0.001 * (n % 2))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(n) for n in range(20)))

    with made() as t:
        asyncio.run(all_of_them())
        with t.span("outer", record_id="thread"), ThreadPoolExecutor(1) as pool:
            pool.submit(contextvars.copy_context().run, t.traced("inner")(int)).result()
        events = kept(t)
    outer = {e["span_id"]: e for e in events if e["name"] == "outer"}
    inner = [e for e in events if e["name"] == "inner"]
    assert len(outer) == len(inner) == 21
    assert all(outer[e["parent_span_id"]]["record_id"] == e["record_id"] for e in inner)


def test_decorated_functions_and_coroutines_are_spans() -> None:
    """Each call is one, with the function's result or its error."""
    with made() as t:

        @t.traced("plain", source_system="orders")
        def plain(x: int) -> int:
            return x + 1

        @t.traced("awaited")
        async def awaited(x: int) -> int:
            return plain(x)

        assert asyncio.run(awaited(1)) == 2
        assert plain(3) == 4
        events = kept(t)
    assert [e["name"] for e in events] == ["plain", "awaited", "plain"]
    assert events[0]["parent_span_id"] == events[1]["span_id"]
    assert [e["dimensions"] for e in events if e["name"] == "plain"] == [
        {"source_system": "orders"}
    ] * 2


def test_nothing_that_a_pipeline_gives_raises() -> None:
    """Objects that have no text, wrong names and wrong numbers cost the event at most."""
    wrong: Any = Unprintable()
    with made() as t:
        with t.span("good", a=wrong, b=None, c=b"x", d=1.5) as span:
            span.set("e", wrong).about(record_id=wrong).carry(user=wrong)
        t.gauge("depth", wrong)
        t.gauge("Depth!", 1)
        t.count("records", 1)
        t.count(wrong)
        t.observe("seconds", float("nan"))
        t.log("line", severity="LOUD")
        t.inject({})
        assert t.extract(wrong).trace_id == 0
        assert t.extract([1, 2]).trace_id == 0
        assert ErrorEntry.read({"traceparent": None, "spanloom-attempt": "x"}).attempts == 1
        events = kept(t)
        assert t.counts().refused == 6
    assert [e["name"] for e in events] == ["good", "line"]
    assert events[0]["dimensions"] == {
        "a": "<Unprintable>", "b": "None", "c": "b'x'", "d": "1.5", "e": "<Unprintable>",
    }  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{"traceparent": PARENT}, [], 5, "junk", Unprintable()], ids=lambda o: type(o).__name__
)
def test_what_is_no_context_is_counted_and_not_raised(odd: Any) -> None:
    """Headers that were not read first, or a number: the pipeline goes on without a parent."""
    with made() as t:
        span = t.span("alpha.parse", odd, parent=odd).link(odd)
        span.set(odd, 1).end()
        assert span.parent_id == 0
        assert not span.links
        t.observe("read_seconds", 1.0, sample_ratio=odd)
        t.count("read_total", -1)
        carried = t.inject(odd)
        assert carried is odd or isinstance(carried, list | dict)
        t.header(odd).encode()
        t.recover("alpha.again", odd).end()
        assert t.counts().refused > 0


@given(
    st.dictionaries(
        st.sampled_from(["message_id", "trace_id", "timestamp", "baggage", "more"]),
        st.none() | st.text() | st.integers() | st.dictionaries(st.text(), st.none() | st.text()),
    )
    | st.none()
    | st.binary()
)
def test_any_message_header_can_be_read(came: Any) -> None:
    """One of a newer schema, a torn one, none: what is not known is left out."""
    header = MessageHeader.read(came)
    assert header.context.trace_id >= 0
    assert MessageHeader.read(header.as_mapping()) == header


def test_a_strict_telemetry_says_what_is_wrong() -> None:
    """In a pipeline's own tests a metric name against the rule is an error."""
    with made(strict=True) as t:
        for call in (lambda: t.gauge("Depth", 1), lambda: t.count("records", 1)):
            with pytest.raises(ValueError, match="metric"):
                call()


def test_long_texts_and_many_dimensions_are_cut() -> None:
    """Whatever is given, an event stays small; what was cut is counted."""
    with made() as t:
        with t.span("x", **{f"k{n}": "v" * 5_000 for n in range(100)}) as span:
            span.link(*(Context(n + 1, 1) for n in range(2_000)))
        (event,) = kept(t)
        assert t.counts().cut == 100 + 36 + 1_000
    assert len(event["dimensions"]) == 64
    assert {len(v) for v in event["dimensions"].values()} == {1_024}
    assert len(event["links"]) == 1_000


def test_points_belong_to_the_current_span() -> None:
    """Log, audit and metric name its trace; outside of any they stand alone."""
    with made(actor="svc-alpha") as t:
        t.gauge("buffer_depth", 3)
        with t.span("alpha.connect", correlation_id="order-8") as span:
            t.log("circuit_state_changed", "WARN", value=120, unit="records/s", to="OPEN")
            t.audit("record_read", "READ", actor="anna")
            t.observe("pipeline.alpha.parser.histogram.parse_seconds", 0.5)
        gauge, log, audit, metric, _ = kept(t)
    assert gauge["trace_id"] == ""
    assert gauge["name"] == "pipeline.alpha.parser.gauge.buffer_depth"
    assert gauge["value"] == 3
    for event in (log, audit, metric):
        assert event["trace_id"] == f"{span.trace_id:032x}"
        assert event["span_id"] == f"{span.span_id:016x}"
        assert event["correlation_id"] == "order-8"
    assert (log["severity"], log["actor"]) == ("WARN", "svc-alpha")
    assert (log["value"], log["unit"], log["dimensions"]) == (120, "records/s", {"to": "OPEN"})
    assert (audit["operation"], audit["actor"]) == ("READ", "anna")
    assert (metric["value"], metric["unit"]) == (0.5, "s")


def test_every_audit_entry_says_who_and_in_which_context() -> None:
    """Without an actor and a correlation id of their own: the place, and the trace (row S2-59)."""
    with made() as t:
        t.audit("rule_changed", "UPDATE")
        with t.span("alpha.connect") as span:
            t.audit("record_read", "READ")
        alone, inside, _ = kept(t)
    assert (alone["actor"], alone["correlation_id"]) == ("ALPHA.parser", "")
    assert (inside["actor"], inside["correlation_id"]) == ("ALPHA.parser", f"{span.trace_id:032x}")
    assert (alone["operation"], alone["component"]) == ("UPDATE", "parser")


def test_counters_tell_their_totals() -> None:
    """A total by name and dimensions; what became of the events is told beside it."""
    t = made()
    for n in range(1_000):
        t.count("records_total", source_system="orders" if n % 2 else "crm")
    with t.span("x"):
        pass
    assert t.flush(60)
    t.close()
    sender: Any = t.emitter.sender
    told = {
        (e["name"], e["dimensions"].get("source_system", "")): e["value"]
        for e in sender.events
        if e["event_type"] == "METRIC"
    }
    assert told == {
        ("pipeline.alpha.parser.counter.records_total", "orders"): 500,
        ("pipeline.alpha.parser.counter.records_total", "crm"): 500,
        ("pipeline.alpha.telemetry.histogram.events_sent", ""): 1,
    }


@given(st.floats(0, 1))
def test_all_modules_take_the_same_decision(ratio: float) -> None:
    """By the trace id and the ratio alone; a context that came along has decided already."""
    first, second = made(sample_ratio=ratio), made("BETA", "mapping", sample_ratio=ratio)
    for _ in range(20):
        span = first.span("a")
        is_in = (span.trace_id & (1 << 56) - 1) >= second.place.threshold
        assert span.is_sampled == is_in
        assert second.span("b", parent=second.extract(first.inject({}, span))).flags == span.flags


def test_of_an_unsampled_trace_errors_are_sent() -> None:
    """They have no sampled bit, so the engine knows why the others are missing; all is counted."""
    with made(sample_ratio=0.0) as t:
        for n in range(10):
            try:
                with t.span("outer"), t.span("inner"):
                    if n == 3:
                        raise ValueError
            except ValueError:
                pass
        t.audit("read", "READ")
        events = kept(t)
        counts = t.counts()
    assert [e["name"] for e in events] == ["inner", "outer", "read"]
    assert not any(e["trace_flags"] & 1 for e in events)
    assert (counts.unsampled, counts.unsampled_traces, counts.made) == (18, 10, 3)


def test_the_share_of_sampled_traces_is_the_ratio() -> None:
    """Of 4,000 traces a quarter, within five standard deviations."""
    t = made(sample_ratio=0.25)
    found = sum(t.span("a").is_sampled for _ in range(4_000))
    assert abs(found - 1_000) < 5 * (4_000 * 0.25 * 0.75) ** 0.5


def test_context_goes_over_http_and_kafka() -> None:
    """With state, baggage and the record's ids, in any case, as text or bytes."""
    with made() as t:
        came = t.extract(
            {"TraceParent": PARENT, "TRACESTATE": ["a=1", "b=2"], "Baggage": "region=eu;p=1"}
        )
        assert (came.flags, came.state) == (1, (("a", "1"), ("b", "2")))
        with t.span("x", parent=came, record_id="r-1", correlation_id="ü/1") as span:
            http = t.inject({"TraceParent": "old", "accept": "*/*"})
            kafka = t.kafka_headers()
            asgi = [(name.encode(), value.encode()) for name, value in t.inject()]
        assert set(http) == {"accept", "traceparent", "tracestate", "baggage"}
        assert http["baggage"].startswith("spanloom.record_id=r-1,")
        assert http["baggage"].endswith(",region=eu;p=1")
        for carrier in (http, kafka, asgi):
            back = t.extract(carrier)
            assert back.parent == span.parent
            assert back.state == came.state
            assert (back.record_id, back.correlation_id) == ("r-1", "ü/1")
            assert back.baggage == came.baggage
            edge = t.extract(carrier, with_baggage=False)
            assert (edge.parent, edge.baggage, edge.record_id) == (span.parent, None, "")
        assert t.inject({}) == {}
        assert t.extract(None).trace_id == 0


def test_a_baggage_that_is_too_large_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """In and out, by its own name; the record's ids go on, and the trace does."""
    with made() as t:
        came = t.extract({"traceparent": PARENT, "baggage": "a=1,b=" + "x" * 9_000 + ",c=2"})
        assert (came.parent.span_id, list(came.baggage or {})) == ("00f067aa0ba902b7", ["a"])
        assert t.counts().baggage_cut == 2
        t.extract({"baggage": "b=" + "x" * 9_000}, with_baggage=False)
        assert t.counts().baggage_cut == 2
        with t.span("x", parent=came, record_id="r-1") as span:
            span.carry(big="y" * 9_000, **{"no token": "1"})
            out = t.inject({})
            assert t.counts().baggage_cut == 4
            entry = t.failed(None)
            assert t.counts().baggage_cut == 6
        assert out["baggage"] == "spanloom.record_id=r-1,a=1"
        t.recover("again", [*entry.headers().items(), ("baggage", "z=" + "x" * 9_000)]).end()
        assert t.flush(60)
        sender: Any = t.emitter.sender
        assert t.counts().baggage_cut == 7
    assert "2 entries of a baggage were left out: 8192 bytes and 180 entries" in caplog.text
    name = "pipeline.alpha.telemetry.histogram.baggage_cut"
    assert sum(e["value"] for e in sender.events if e["name"] == name) == 7


def test_entries_of_the_baggage_become_dimensions() -> None:
    """Those that the module asks for, where the span says nothing else (row S1-8)."""
    with made(baggage_dimensions=("region", "channel")) as t:
        came = t.extract({"traceparent": PARENT, "baggage": "region=eu,user=u1,channel=web"})
        with t.span("x", parent=came, channel="app"):
            t.log("line")
        log, span = kept(t)
    assert span["dimensions"] == {"region": "eu", "channel": "app"}
    assert log["dimensions"] == {"region": "eu", "channel": "web"}


def test_a_message_header_carries_the_context() -> None:
    """Over a hop and back with the acknowledgment, with the time it took."""
    with made() as alpha, made("BETA", "mapping") as beta:
        with alpha.span("alpha.send", "PRODUCER", batch_id="b-1", correlation_id="c") as sent:
            header = alpha.header("BETA")
        assert (header.source_module, header.target_module) == ("ALPHA", "BETA")
        assert header.message_type == "BATCH_TRANSFER"
        with beta.span("beta.receive", "CONSUMER", parent=header.context) as received:
            back = beta.header("ALPHA", "ACKNOWLEDGMENT")
        assert (received.trace_id, received.parent_id) == (sent.trace_id, sent.span_id)
        assert received.batch_id == "b-1"
        assert back.parent_span_id == header.span_id
        assert back.correlation_id == "c"
        assert back.age_us >= 0
        with pytest.raises(ValueError, match="message_type"):
            MessageHeader.of("A", "B", "HELLO", None)


def test_an_error_queue_keeps_the_context() -> None:
    """A retry goes on in the trace, counts its attempts, and links what failed (row S2-67)."""
    with made() as t:
        headers: Any = None
        for _ in range(3):
            kept_entry = ErrorEntry.read(headers) if headers else None
            with suppress(OSError), _attempt(t, kept_entry) as span:
                error = OSError("away")
                headers = t.failed(error).kafka_headers()
                raise error
        entry = ErrorEntry.read(headers)
        assert (entry.attempts, entry.error_type) == (3, "OSError")
        assert entry.context.parent == span.parent
        with t.recover("gamma.deliver", headers, new_trace=True) as late:
            pass
        events = kept(t)
    assert [e["dimensions"].get("attempt", "1") for e in events] == ["1", "2", "3", "4"]
    first, second, third, fourth = events
    assert first["trace_id"] == second["trace_id"] == third["trace_id"]
    assert second["parent_span_id"] == first["span_id"]
    assert fourth["trace_id"] == f"{late.trace_id:032x}" != first["trace_id"]
    assert fourth["parent_span_id"] == ""
    assert fourth["links"] == [{"trace_id": first["trace_id"], "span_id": third["span_id"]}]
    assert {e["record_id"] for e in events} == {"r-1"}
    assert [e["dimensions"].get("recovered", "") for e in events] == ["", "true", "true", "true"]


def _attempt(t: Any, entry: ErrorEntry | None) -> Span:
    if entry is None:
        return t.span("gamma.deliver", record_id="r-1")
    return t.recover("gamma.deliver", entry)


def test_a_span_that_ended_stays_as_it_is() -> None:
    """It is in the queue already: what is set later has no effect, nor has a second end."""
    with made() as t:
        span = t.span("x", a="1")
        span.end()
        span.set("b", 2).about(record_id="r").link(Context(1, 1))
        span.fail(ValueError())
        span.end()
        (event,) = kept(t)
    assert event["dimensions"] == {"a": "1"}
    assert (event["record_id"], event["status"], event["links"]) == ("", "OK", [])
