"""The commit: metadata that the client itself would write, and all or nothing of a cut."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from streams.errors import BrokerError, ConfigError, RightError
from streams.runtime import commit
from streams.runtime.commit import (
    Calls,
    ClientLostError,
    CommitRefusedError,
    Cut,
    OutRecord,
    broker_answers,
    check_group_metadata,
    commit_cut,
    group_metadata,
    init_transactions,
    producer_for,
    wait_for_batches,
)
from streams.runtime.topics import admin, embedded_partitions


def failure(code: int, **flags: bool) -> KafkaException:
    """Return what the client raises."""
    return KafkaException(KafkaError(code, "planned", **flags))


ABORTABLE = failure(KafkaError.UNKNOWN_MEMBER_ID, txn_requires_abort=True)
FENCED = failure(KafkaError._FENCED, fatal=True)
UNKNOWN = failure(KafkaError._TIMED_OUT, retriable=True)


class Message:
    """A delivered record."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """A transactional producer that notes its calls; a planned failure meets each of its calls."""

    def __init__(self, fails: dict[str, list[Exception]] | None = None) -> None:
        self.calls: list[str] = []
        self.sent: list[tuple[str, int, bytes | None, bytes, int]] = []
        self.offsets: list[tuple[str, int, int]] = []
        self.delivery_error: KafkaError | None = None
        self.queued = 0
        self.seconds = 0.0
        """What the calls have taken so far."""
        self.is_answered = False
        """Whether the broker tells its topics."""
        self.answers: list[int] = []
        """How many records each poll finds acknowledged, for as long as there are answers."""
        self._fails = fails or {}

    def __len__(self) -> int:
        return self.queued

    def _note(self, call: str) -> None:
        self.calls.append(call)
        planned = self._fails.get(call)
        if planned:
            raise planned.pop(0)

    def init_transactions(self, _seconds: float) -> None:
        self._note("init")

    def begin_transaction(self) -> None:
        self._note("begin")

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        partition: int,
        on_delivery: Callable[..., None] | None,
        alias: None,
        timestamp: int,
    ) -> None:
        assert alias is None
        self._note("produce")
        self.sent.append((topic, partition, key, value, timestamp))
        if on_delivery is not None:
            on_delivery(self.delivery_error, Message(40 + len(self.sent)))

    def poll(self, _seconds: float) -> int:
        self._note("poll")
        acknowledged = self.answers.pop(0) if self.answers else 0
        self.queued -= acknowledged
        return acknowledged

    def send_offsets_to_transaction(self, offsets: Any, metadata: bytes, _seconds: float) -> None:
        assert metadata == b"m"
        self._note("offsets")
        self.offsets += [(o.topic, o.partition, o.offset) for o in offsets]

    def commit_transaction(self, seconds: float) -> None:
        self.seconds += seconds
        self._note("commit")

    def list_topics(self, *, timeout: float) -> None:
        self.calls.append("topics")
        if not self.is_answered:
            self.seconds += timeout
            raise failure(KafkaError._TRANSPORT)

    def abort_transaction(self, _seconds: float) -> None:
        self._note("abort")


def a_cut() -> Cut:
    """Return a cut of one trace, two pieces and one offset."""
    return Cut(
        7,
        [OutRecord("traces", 1, b"k", b"t")],
        [OutRecord("changelog", 1, b"0/0", b"x"), OutRecord("changelog", 1, b"0/1", b"y")],
        {("telemetry", 1): 9},
    )


def test_metadata_is_what_the_client_writes_itself() -> None:
    """For an unknown member our bytes equal confluent-kafka's own, whatever the group's name."""
    for group in ("check", "a.b-c_9", "x" * 100):
        consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": group, "log_level": 0})
        try:
            assert group_metadata(group, -1, "", None) == consumer.consumer_group_metadata()
        finally:
            consumer.close()


def test_metadata_names_the_member() -> None:
    """Generation, member and instance stand in the bytes in the format's order."""
    made = group_metadata("g", 258, "m-1", "i-1")
    assert made == b"CGMDv2:\x02\x01\0\0g\0m-1\0\0i-1\0"


def test_the_installed_client_passes_the_check() -> None:
    """The pinned version still has the format."""
    check_group_metadata()


def test_another_format_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the client writes other bytes the worker says what to install and does not start."""
    monkeypatch.setattr(commit, "group_metadata", lambda *_: b"CGMDv3:")
    with pytest.raises(ConfigError, match=r"requirements\.lock"):
        check_group_metadata()


def test_a_cut_is_one_transaction() -> None:
    """Outputs, state and offsets lie between begin and commit; the changelog's end is known."""
    producer, cut = FakeProducer(), a_cut()
    commit_cut(producer, cut, b"m")  # type: ignore[arg-type]
    assert producer.calls == ["poll", "begin", *["produce"] * 3, "offsets", "commit"]
    assert producer.sent == [
        ("traces", 1, b"k", b"t", 7),
        ("changelog", 1, b"0/0", b"x", 0),
        ("changelog", 1, b"0/1", b"y", 0),
    ]
    assert producer.offsets == [("telemetry", 1, 9)]
    assert cut.next_changelog_offset == 44, "after the last piece, at 43"


def test_outside_of_a_group_no_offsets_are_sent() -> None:
    """Without membership the cut is committed, and the state's position alone counts."""
    producer = FakeProducer()
    commit_cut(producer, a_cut(), None)  # type: ignore[arg-type]
    assert "offsets" not in producer.calls


def test_a_full_queue_is_waited_for() -> None:
    """A broker slower than the task makes it wait; no record is lost or sent twice."""
    producer = FakeProducer({"produce": [BufferError("full"), BufferError("full")]})
    commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]
    assert producer.calls[1:7] == ["begin", "produce", "poll", "produce", "poll", "produce"]
    assert len(producer.sent) == 3


def traces(count: int, size_bytes: int, partition: int = 1) -> list[OutRecord]:
    """Return records of one topic."""
    return [OutRecord("traces", partition, b"k", bytes(size_bytes))] * count


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([], 0),
        (traces(100, 1_000), 100),
        (traces(5_000, 1_000), 1_000),
        (traces(5_000, 1_000) + traces(2_000, 1_000, 2), 2_000),
        (traces(5_000, 1_000, -1), 5_000),
        (traces(3, 5_000_000), 1),
    ],
    ids=["nothing", "part of a batch", "batches", "two partitions", "not said", "large"],
)
def test_full_batches_go_before_the_commit_flushes(records: list[OutRecord], left: int) -> None:
    """Answers are waited for until no partition can have more than part of a batch left."""
    producer = FakeProducer()
    producer.queued = len(records)
    producer.answers = [1] * len(records)
    wait_for_batches(producer, records)  # type: ignore[arg-type]
    assert producer.queued == left


def test_a_broker_that_does_not_answer_is_left_to_the_commit() -> None:
    """What it means that nothing goes on is for the commit to find out."""
    producer, records = FakeProducer(), traces(5_000, 1_000)
    producer.queued = len(records)
    producer.answers = [500, 500]
    wait_for_batches(producer, records)  # type: ignore[arg-type]
    assert producer.calls == ["poll"] * 3
    assert producer.queued == 4_000


@pytest.mark.parametrize(
    ("call", "error", "aborts"),
    [
        ("begin", FENCED, False),
        ("produce", FENCED, False),
        ("offsets", ABORTABLE, True),
        ("commit", ABORTABLE, True),
    ],
)
def test_what_the_broker_refuses_was_not_committed(
    call: str, error: KafkaException, aborts: bool
) -> None:
    """A stale member is told so, and the transaction is aborted where that is needed."""
    producer = FakeProducer({call: [error]})
    with pytest.raises(CommitRefusedError):
        commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]
    assert ("abort" in producer.calls) == aborts
    assert producer.calls.count("commit") == (call == "commit")


@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_what_is_forbidden_is_not_tried_again(call: str) -> None:
    """A missing right does not come back by restarting the task: the worker ends and names it."""
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no Write", txn_requires_abort=True)
    producer = FakeProducer({call: [KafkaException(denied)]})
    with pytest.raises(RightError, match=r"a commit was forbidden: no Write\. Operator action"):
        commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]
    assert producer.calls[-1] == "abort"


def test_forbidden_transactional_ids_are_named() -> None:
    """A start that is denied says which right is missing, not that the broker is away."""
    denied = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    producer = FakeProducer({"init": [KafkaException(denied)]})
    with pytest.raises(RightError, match="may not Write the transactional ids"):
        init_transactions(producer)  # type: ignore[arg-type]


def test_a_failed_abort_is_left_to_the_successor() -> None:
    """The refusal is what counts: the next holder's start settles what was left open."""
    producer = FakeProducer({"commit": [ABORTABLE], "abort": [FENCED]})
    with pytest.raises(CommitRefusedError):
        commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]


def test_an_unknown_outcome_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that timed out is repeated, never aborted: it may have happened."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({"commit": [UNKNOWN, UNKNOWN]})
    commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]
    assert producer.calls.count("commit") == 3
    assert "abort" not in producer.calls


def test_an_outcome_that_stays_unknown_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """After all that time nothing is claimed: an error says so and nothing is aborted."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({"commit": [UNKNOWN] * 10})
    monkeypatch.setattr(commit.time, "monotonic", lambda: producer.seconds)
    with pytest.raises(BrokerError, match=r"stays unknown .*Operator action"):
        commit_cut(producer, a_cut(), b"m", 45)  # type: ignore[arg-type]
    assert producer.calls.count("commit") == 4, "after 10, 22, 34 and 46 s; 45 were given"
    assert "abort" not in producer.calls


def test_where_the_broker_answers_another_client_finds_the_outcome_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that lost its coordinator may never find it again; a fresh one asks anew."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({"offsets": [UNKNOWN] * 10})
    producer.is_answered = True
    with pytest.raises(CommitRefusedError, match="planned, though the broker answers"):
        commit_cut(producer, a_cut(), b"m")  # type: ignore[arg-type]
    assert producer.calls.count("offsets") == 3
    assert not {"abort", "commit"} & set(producer.calls)


@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_a_client_that_alone_gets_no_answer_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """One that lost all its brokers waited out its patience, though the broker was back."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({call: [UNKNOWN] * 10})
    is_there = iter([False, False, True]).__next__
    with pytest.raises(CommitRefusedError, match="planned, though the broker answers others"):
        commit_cut(producer, a_cut(), b"m", is_there=is_there)  # type: ignore[arg-type]
    assert producer.calls.count(call) == 3, "while nobody is answered it is repeated"
    assert "abort" not in producer.calls


@pytest.mark.parametrize("call", ["offsets", "commit", "abort"])
def test_it_is_told_for_how_long_a_call_has_not_come_back(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Seen while it lasts, from another thread; between calls there is nothing to wait for."""
    calls = Calls()
    producer = FakeProducer({"commit": [ABORTABLE]})
    monkeypatch.setattr(commit.time, "monotonic", lambda: producer.seconds)
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, calls.seconds))
        producer.seconds += 7
        seen.append((name, calls.seconds))
        if name == "commit":
            raise ABORTABLE

    monkeypatch.setattr(producer, "_note", note)
    with pytest.raises(CommitRefusedError):
        commit_cut(producer, a_cut(), b"m", calls=calls)  # type: ignore[arg-type]
    taken = [seconds for name, seconds in seen if name == call]
    assert taken[-1] - taken[-2] == 7
    assert {seconds for name, seconds in seen if name == "produce"} == {0.0}
    assert calls.seconds == 0


def test_a_broker_without_transactions_is_named() -> None:
    """A start that cannot fence earlier holders is an error with what to check."""
    producer = FakeProducer({"init": [UNKNOWN]})
    with pytest.raises(BrokerError, match="Operator action"):
        init_transactions(producer, -1.0)  # type: ignore[arg-type]


def test_a_start_waits_for_its_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away for a while does not end a task that was refused and starts again."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({"init": [UNKNOWN, UNKNOWN]})
    init_transactions(producer)  # type: ignore[arg-type]
    looked = ["topics", "init"]  # before the first try, too: a third would find no broker
    assert producer.calls == looked * 3


def test_a_start_says_that_its_client_lost_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody is answered it waits; a broker that answers others asks for a new client."""
    monkeypatch.setattr(commit.time, "sleep", lambda _seconds: None)
    producer = FakeProducer({"init": [UNKNOWN] * 10})
    answers = iter([False, True])
    with pytest.raises(ClientLostError, match="planned"):
        init_transactions(producer, is_there=lambda: next(answers))  # type: ignore[arg-type]
    assert producer.calls.count("init") == 2


def test_a_client_made_for_it_tells_whether_the_broker_answers(embedded: str) -> None:
    """Of one that is there, and of a port where nobody listens."""
    assert broker_answers({"bootstrap.servers": embedded, "log_level": 0})
    assert not broker_answers({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})


def test_a_cut_reaches_a_broker(embedded: str) -> None:
    """On the embedded broker a cut goes through and says where its changelog goes on."""
    base = {"bootstrap.servers": embedded, "log_level": 0}
    embedded_partitions(admin(base), ["telemetry", "traces", "changelog"])
    producer = producer_for(base, "test-join-0")
    init_transactions(producer)
    for end in (2, 5):  # between them is the marker of the first transaction
        pieces = [OutRecord("changelog", 0, b"0/0", b"x"), OutRecord("changelog", 0, b"0/1", b"y")]
        cut = Cut(7, [OutRecord("traces", 0, b"k", b"t")], pieces, {("telemetry", 0): end})
        commit_cut(producer, cut, group_metadata("g", -1, "", None))
        assert cut.next_changelog_offset == end
