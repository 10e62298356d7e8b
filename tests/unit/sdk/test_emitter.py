"""The emitter: bounds, exact counts, forks, and a pipeline that never notices."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import pytest

from streams.codec.records import decode
from streams.codec.wire import split
from streams.core.traces.murmur2 import murmur2_partition
from streams.errors import ConfigError
from streams.sdk import Counts, Telemetry
from streams.sdk.span import Context
from streams.sdk.tally import Tally
from tests.unit.sdk.senders import PARTITIONS, ListSender, kept, made

THREADS, SPANS = 8, 500


def test_every_span_is_sent_once_from_many_threads() -> None:
    """What the threads made is what was sent, each with an id of its own, in its partition."""
    t = made()

    def work() -> None:
        for _ in range(SPANS):
            with t.span("alpha.parse"):
                pass

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    events = kept(t)
    assert len(events) == len({e["span_id"] for e in events}) == THREADS * SPANS
    sender: Any = t.emitter.sender
    for topic, partition, value, _ in sender.messages:
        assert topic == "telemetry.alpha.v1"
        ids = {e["trace_id"].encode() for e in decode(value)["events"]}
        assert {murmur2_partition(one, PARTITIONS) for one in ids} == {partition}
    counts = t.close()
    assert (counts.made, counts.sent, counts.dropped) == (THREADS * SPANS, THREADS * SPANS, {})


def test_unsampled_spans_are_counted_from_many_threads() -> None:
    """Without a lock, and none is missed: more switches between threads than usual."""
    t = made(sample_ratio=0.0)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work() -> None:
        for _ in range(4 * SPANS):
            with t.span("alpha.parse"):
                pass

    try:
        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(before)
    counts = t.close()
    assert counts.unsampled == counts.unsampled_traces == 4 * THREADS * SPANS


def unsampled_told(t: Telemetry) -> dict[tuple[str, str, str], float]:
    """Return sums of what was told of unsampled spans, by topic, component and number."""
    sender: Any = t.emitter.sender
    sums: dict[tuple[str, str, str], float] = {}
    for topic, _, value, _ in sender.messages:
        for event in decode(value)["events"]:
            head, _, name = event["name"].rpartition(".")
            if name.endswith("_unsampled"):
                assert head == f"pipeline.{event['module'].lower()}.telemetry.histogram"
                at = topic, event["dimensions"]["component"], name
                sums[at] = sums.get(at, 0.0) + event["value"]
    return sums


def test_what_is_not_sampled_is_told_by_module_and_component() -> None:
    """Though nothing else is: whole traces are absent, and the engine must know how many."""
    t = made(sample_ratio=0.0, report_seconds=0.1)
    other, beta = t.component("reader"), t.module("BETA", "mapping")
    for _ in range(7):
        with t.span("a"), other.span("b"), beta.span("c"), beta.span("d"):
            pass
        time.sleep(0.04)  # several reports
    counts = t.close()
    assert (counts.unsampled, counts.unsampled_traces, counts.made) == (28, 7, 0)
    alpha, of_beta = "telemetry.alpha.v1", "telemetry.beta.v1"
    assert unsampled_told(t) == {
        (alpha, "parser", "spans_unsampled"): 7,
        (alpha, "parser", "traces_unsampled"): 7,
        (alpha, "reader", "spans_unsampled"): 7,
        (of_beta, "mapping", "spans_unsampled"): 14,
    }


def test_a_report_that_did_not_arrive_is_told_again() -> None:
    """With what came since, and counters of the pipeline too: sums stay right."""
    t = made(sample_ratio=0.0, report_seconds=0.1)
    with t.span("a"):
        pass
    t.emitter.wake()
    deadline = time.monotonic() + 120
    while t.emitter.sender is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    sender: Any = t.emitter.sender
    sender.loses = True
    for _ in range(5):
        with t.span("a"):
            pass
        t.count("records_total")
        time.sleep(0.06)
    sender.loses = False
    t.close()
    told = unsampled_told(t)
    assert told["telemetry.alpha.v1", "parser", "spans_unsampled"] == 6
    counted = [e["value"] for e in sender.events if e["name"].endswith("records_total")]
    assert counted[-1] == 5


def test_messages_carry_the_id_that_a_registry_has() -> None:
    """Of spans and of the SDK's own reports alike; what is no id is refused."""
    t = made(batch_schema_id=100_019)
    with t.span("alpha.parse"):
        pass
    t.close()
    sender: Any = t.emitter.sender
    assert sender.messages
    assert {split(value)[0] for _, _, value, _ in sender.messages} == {100_019}
    with pytest.raises(ConfigError, match="batch_schema_id=0"):
        made(batch_schema_id=0)


def test_a_full_queue_drops_and_counts() -> None:
    """While the broker is away the queue holds its bound; the rest is counted, and it goes on."""
    t = made(queue_events_max=100)
    with t.span("first"):
        pass
    assert t.flush(60)
    sender: Any = t.emitter.sender
    sender.ready = False
    for _ in range(1_000):
        with t.span("alpha.parse"):
            pass
    counts = t.counts()
    assert counts.waiting == len(t.emitter.queue) == 100
    assert counts.dropped == {"queue_full": 900}
    sender.ready = True
    assert len(kept(t)) == 101
    with t.span("later"):
        pass
    assert len(kept(t)) == 102
    counts = t.close()
    assert counts.made == 1_002 == counts.sent + sum(counts.dropped.values())


def test_a_counter_alone_is_told() -> None:
    """A module that only counts starts the thread that tells it."""
    t = made(report_seconds=0.1)
    t.count("records_total")
    deadline = time.monotonic() + 120
    while not getattr(t.emitter.sender, "messages", ()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sender: Any = t.emitter.sender
    assert [e["value"] for e in sender.events] == [1]
    t.close()


def test_large_texts_fill_the_queue_before_its_number() -> None:
    """The characters of dimensions are a bound too, about."""
    t = made(queue_characters_max=100_000)
    sender_is_away = threading.Event()
    t.emitter._make_sender = lambda counting: _away(counting, sender_is_away)
    for _ in range(1_000):
        with t.span("alpha.parse", text="x" * 1_000):
            pass
    counts = t.counts()
    assert 90 <= counts.waiting <= 110
    assert counts.dropped["queue_full"] == 1_000 - counts.waiting
    t.close(0.1)


def test_texts_of_spans_that_are_not_sent_do_not_count() -> None:
    """However much unsampled spans say, there is room for what is sent."""
    t = made(queue_characters_max=100_000, sample_ratio=0.0)
    for _ in range(1_000):
        with t.span("alpha.parse", text="x" * 1_000):
            pass
    for _ in range(3):
        with suppress(ValueError), t.span("alpha.parse", text="x" * 1_000):
            raise ValueError
        assert t.flush(60)
    counts = t.close()
    assert (counts.sent, counts.dropped, counts.unsampled) == (3, {}, 1_000)
    assert t.emitter.queued_characters == 0


def _away(counting: Any, _: threading.Event) -> ListSender:
    sender = ListSender(counting)
    sender.ready = False
    return sender


def test_what_a_closed_emitter_gets_is_counted() -> None:
    """After the end spans cost nothing, go nowhere, and are counted."""
    t = made()
    with t.span("alpha.parse"):
        pass
    assert t.close().sent == 1
    with t.span("alpha.parse"):
        pass
    counts = t.close()
    assert (counts.made, counts.sent, counts.dropped) == (2, 1, {"closed": 1})


def test_what_the_broker_never_took_is_given_up_at_the_end() -> None:
    """The end waits for its bound and no longer, and counts what is lost."""
    t = made(exit_seconds_max=0.2)
    t.emitter._make_sender = lambda counting: _away(counting, threading.Event())
    for _ in range(10):
        with t.span("alpha.parse"):
            pass
    counts = t.close()
    assert (counts.made, counts.dropped, counts.waiting) == (10, {"exit": 10}, 0)


def test_a_value_that_cannot_be_encoded_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A span that holds what no span should is dropped alone."""
    t = made()
    with caplog.at_level(logging.CRITICAL, "spanloom.sdk"):
        bad: Any = object()
        for name in ("good", bad, "good"):
            with t.span("any") as span:
                span.name = name
        for trace_id, parent_id in ((bad, 1), (-1, 1), (1 << 128, 1), (1, 1 << 64), (1, bad)):
            with t.span("bad", parent=Context(trace_id, parent_id, 1)):
                pass
        with t.span("linked") as span:
            span.link(Context(1 << 128, 1))
        assert [event["name"] for event in kept(t)] == ["good", "good"]
        assert t.close().dropped == {"unencodable": 7}


class _SlowQueue(deque[Any]):
    """Lets other threads run just when an event has left it."""

    def popleft(self) -> Any:
        item = super().popleft()
        time.sleep(0.005)
        return item


def test_who_counts_while_events_are_taken_sees_each_once() -> None:
    """An event is in the queue or taken, and never between: else a flush could end too early."""
    t = made()
    t.emitter.queue = _SlowQueue()
    for _ in range(20):
        with t.span("alpha.parse"):
            pass
    t.emitter.wake()
    seen = set()
    while t.counts().waiting:
        seen.add(t.counts().made)
    assert seen <= {20}
    assert t.close().sent == 20


class _FillingQueue(deque[Any]):
    """Gets another event whenever somebody has looked how many there are."""

    def __len__(self) -> int:
        found = super().__len__()
        self.append(None)
        return found


def test_counts_balance_while_events_come_and_arrive() -> None:
    """Made is sent, dropped and waiting, whatever happens between two looks."""
    t = made()
    t.emitter.queue = _FillingQueue()
    for n in range(20):
        counts = t.counts()
        assert counts.made == counts.sent + sum(counts.dropped.values()) + counts.waiting == n


def test_characters_that_come_while_events_are_taken_count() -> None:
    """Else the bound of what waits would wear off, by a little with each turn."""
    emitter = made().emitter

    class Taken:
        @property
        def characters(self) -> int:
            emitter.weigh(7)  # a thread of the pipeline, which runs in between
            return 100

    waiting: Any = [Taken(), Taken()]
    emitter.queue.extend(waiting)
    emitter.weigh(200)
    emitter._taken_out(2)
    assert emitter.queued_characters == 14


def test_an_event_that_comes_amid_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is left in a queue that nobody empties any more."""
    t = made()
    monkeypatch.setattr(t.emitter, "start", t.close)
    t.span("alpha.parse").end()
    assert t.counts()[:4] == (1, 0, {"closed": 1}, 0)


def test_a_message_that_cannot_be_made_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Its events do not wait for ever."""
    t = made()
    sends = iter((TypeError("no text"), None))

    class Failing(ListSender):
        def send(self, *args: Any) -> None:
            error = next(sends, None)
            if error is not None:
                raise error
            super().send(*args)

    t.emitter._make_sender = Failing
    with caplog.at_level(logging.CRITICAL, "spanloom.sdk"):
        for _ in range(2):
            t.span("alpha.parse").end()
            assert t.flush(60)
    assert t.close()[:4] == (2, 1, {"unencodable": 1}, 0)


def test_a_topic_that_is_not_there_is_counted() -> None:
    """What has no topic is dropped, and does not hold up the others."""
    t = made()
    other = t.module("DELTA", "part")
    with t.span("one"):
        pass
    assert t.flush(60)
    sender: Any = t.emitter.sender
    sender.topics = {"telemetry.alpha.v1"}
    for one in (other, t):
        with one.span("two"):
            pass
    assert len(kept(t)) == 2
    assert t.close().dropped == {"no_topic": 1}


def test_messages_are_bounded() -> None:
    """The events of one partition go in several messages when they are too many bytes."""
    t = made(batch_bytes_max=2_000, linger_seconds=0.2)
    with t.span("root", text="x" * 500):
        for _ in range(50):
            with t.span("child", text="x" * 500):
                pass
    assert len(kept(t)) == 51
    sender: Any = t.emitter.sender
    assert len(sender.messages) >= 51 // 3
    assert max(len(value) for _, _, value, _ in sender.messages) < 3_000
    assert sum(events for _, _, _, events in sender.messages) == 51
    t.close()


def test_a_child_process_begins_anew() -> None:
    """After a fork ids differ, nothing is sent twice, and both go on."""
    t = made(linger_seconds=0.5)
    with t.span("alpha.before"):
        pass
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # no assertion may leave this branch
        with t.span("alpha.child") as span:
            pass
        events = kept(t)
        counts = t.close()
        said = f"{[e['name'] for e in events]} {counts.made} {counts.sent} {span.span_id}"
        os.write(write, said.encode())
        os._exit(0)
    with t.span("alpha.parent") as span:
        pass
    assert os.waitpid(child, 0)[1] == 0
    said = os.read(read, 1_000).decode()
    assert said.startswith("['alpha.child'] 1 1 ")
    assert int(said.rsplit(" ", 1)[1]) != span.span_id
    assert [e["name"] for e in kept(t)] == ["alpha.before", "alpha.parent"]
    assert t.close().sent == 2
    os.close(read)
    os.close(write)


def test_a_signal_handler_may_make_spans() -> None:
    """A span made amid another one's refusal neither hangs nor is lost from the counts."""
    t = made(queue_events_max=100)
    t.emitter._make_sender = lambda counting: _away(counting, threading.Event())
    made_by_handler = 0
    unbalanced: list[int] = []

    def handler(*_: object) -> None:
        nonlocal made_by_handler
        made_by_handler += 1
        with t.span("alpha.signal"):
            pass
        unbalanced.append(_balance(t.counts()))
        signal.setitimer(signal.ITIMER_REAL, 0.0005)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        for _ in range(20_000):
            with t.span("alpha.parse"):
                pass
            unbalanced.append(_balance(t.counts()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = t.close(0.1)
    assert made_by_handler > 0
    assert counts.made == 20_000 + made_by_handler == sum(counts.dropped.values())
    assert set(unbalanced) == {0}


def _balance(counts: Counts) -> int:
    return counts.made - counts.sent - sum(counts.dropped.values()) - counts.waiting


def test_nothing_heavy_is_imported() -> None:
    """`import streams.sdk` brings neither columns nor settings nor the Kafka client with it."""
    code = "import sys, streams.sdk; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "numpy", "polars", "pydantic", "yaml", "faust", "aiokafka", "duckdb", "pyarrow", "fastavro",
        "confluent_kafka", "asyncio", "streams.settings", "streams.runtime", "opentelemetry",
    }  # fmt: skip
    assert set(done.stdout.split()) & heavy == set()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"sample_ratio": 2}, "sample_ratio"),
        ({"queue_events_max": 1}, "queue_events_max"),
        ({"linger": 1}, "linger"),
        ({"module": "a b"}, "module"),
        ({"component": ""}, "component"),
        ({"broker": ""}, "SPANLOOM_BROKER"),
        ({"broker": "x:99999"}, "'x:99999': a port is a number from 1 to 65535"),
        ({"broker": "x y"}, "HOST:PORT"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(
    given: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the argument; later nothing is raised any more."""
    monkeypatch.delenv("SPANLOOM_BROKER", raising=False)
    with pytest.raises(ConfigError, match=word):
        Telemetry(**{"module": "ALPHA", "component": "parser", "broker": "x:1", **given})


def test_a_link_that_cannot_be_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The security settings of the other clients hold here too."""
    monkeypatch.setenv("SPANLOOM_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    with pytest.raises(ConfigError, match="SASL_MECHANISM"):
        Telemetry("ALPHA", "parser", "broker.example.org:9092")


def test_a_tally_is_not_moved_by_looks() -> None:
    """It tells what was added, however often it is asked."""
    tally = Tally()
    assert [tally.value() for _ in range(3)] == [0, 0, 0]
    for _ in range(5):
        tally.add()
    assert [tally.value() for _ in range(3)] == [5, 5, 5]
    assert next(tally._added) == 5  # else a look amid a look, by a signal handler, would be off
