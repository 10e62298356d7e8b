"""The host of a task: contiguous steps, back-pressure, cuts, and what follows a refused one."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from polars.exceptions import PanicException

from streams.errors import BrokerError, StateError
from streams.runtime.commit import CommitRefusedError
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import PARTITION, FakeBroker, Shell, chunk, until

# --- contiguity


def test_chunks_reach_the_task_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contiguous chunks are joined in one step, and the position stands after the last."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 3))
        shell.host.put(chunk("a", 3, 5))
        await shell.step()
        assert shell.runner.offsets == {"a": [0, 1, 2, 3, 4]}
        assert shell.runner.positions == {"a": 5}
        assert shell.source.asked == []

    asyncio.run(story())


def test_what_is_known_is_cut_off_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a seek back, only records behind the position are joined; no record twice."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        for one in (chunk("a", 0, 4), chunk("a", 2, 6), chunk("a", 1, 5), chunk("a", 6, 7)):
            shell.host.put(one)
        await shell.step()
        assert shell.runner.offsets == {"a": [0, 1, 2, 3, 4, 5, 6]}

    asyncio.run(story())


def test_offsets_without_records_are_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markers and compacted records lie between fetch positions: nothing is fetched again."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 10, offsets=[4, 7]))
        shell.host.put(chunk("a", 10, 12, offsets=[11]))
        await shell.step()
        assert shell.runner.offsets == {"a": [4, 7, 11]}
        assert shell.runner.positions == {"a": 12}
        assert shell.source.asked == []

    asyncio.run(story())


def test_a_gap_is_fetched_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks after a gap are dropped and the gap's start is asked for, not once per chunk."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        shell.host.put(chunk("a", 5, 6))
        shell.host.put(chunk("a", 6, 7))
        await shell.step()
        await until(lambda: shell.source.asked)
        assert shell.source.asked == [("again", "a", 2)]
        assert shell.runner.positions == {"a": 2}
        shell.host.put(chunk("a", 2, 7))
        await shell.step()
        assert shell.runner.offsets == {"a": [0, 1, 2, 3, 4, 5, 6]}
        assert shell.source.asked == [("again", "a", 2)]

    asyncio.run(story())


def test_a_topic_with_chunks_waiting_is_not_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a topic runs only when nothing of it waits: its chunks may be older."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"), HostSettings(step_rows_max=1))
        shell.host.put(chunk("a", 0, 1))
        shell.host.put(chunk("a", 1, 2))
        await shell.step()
        assert shell.runner.caught_up == [{"a": 0, "b": 0}]
        await shell.step()
        assert shell.runner.caught_up[1] == {"a": 10, "b": 0}, "read to its end at position 1"

    asyncio.run(story())


# --- cuts and restarts


def test_a_cut_holds_outputs_state_and_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction has them all, stamped with a time that grows; a clean task commits none."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        await shell.host.cut()
        assert shell.broker.commits == []
        for start in (0, 1):
            shell.host.put(chunk("a", start, start + 1))
            await shell.step()
            await shell.host.cut()
        first, second = shell.broker.commits
        assert [r.topic for r in (*first.outputs, *first.changelog)] == ["out", "changelog"]
        assert first.offsets == {("a", PARTITION): 1}
        assert second.offsets == {("a", PARTITION): 2}
        assert second.cut_ms > first.cut_ms
        assert shell.host.cuts == 2

    asyncio.run(story())


def test_a_refused_commit_goes_back_to_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and inbox are thrown away, and the source goes on from what was committed."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.cut()
        shell.host.put(chunk("a", 2, 5))
        await shell.step()
        shell.host.put(chunk("a", 5, 6))
        was = shell.runner
        shell.broker.meets = [CommitRefusedError("stale generation")]
        await shell.host.cut()
        assert shell.runner is not was
        assert shell.runner.positions == {"a": 2}
        assert shell.source.asked == [("again", "a", 2)]
        assert (shell.host.recent_restarts, shell.host.failed) == (1, None)
        shell.host.put(chunk("a", 2, 6))
        await shell.step()
        assert shell.runner.offsets == {"a": [2, 3, 4, 5]}, "nothing of the old inbox is left"
        await shell.host.cut()
        assert shell.broker.commits[-1].offsets == {("a", PARTITION): 6}

    asyncio.run(story())


def test_a_refused_task_that_ends_commits_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal while it stops, a cut that still waits must not commit past what is lost."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.cut()
        shell.host.put(chunk("a", 2, 5))
        await shell.step()
        shell.broker.meets = [CommitRefusedError("unknown member")]
        await shell.host.stop(cut=True)
        shell.runner.is_dirty = True  # a chunk was joined while the refused cut was under way
        await shell.host.cut()
        assert [cut.offsets for cut in shell.broker.commits] == [{("a", PARTITION): 2}]

    asyncio.run(story())


def test_a_stopped_task_is_not_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that was asked for before the end and gets its turn after it does nothing."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.stop(cut=False)
        await shell.host.cut()
        assert shell.broker.commits == []

    asyncio.run(story())


def test_commits_refused_again_and_again_end_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound of restarts the task fails and says what a person should look at."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(restarts_max=2))
        for _ in range(3):
            assert shell.host.failed is None
            position = shell.runner.positions["a"]
            shell.host.put(chunk("a", position, position + 1))
            await shell.step()
            shell.broker.meets = [CommitRefusedError("fenced")]
            await shell.host.cut()
        assert isinstance(shell.host.failed, BrokerError)
        assert "fenced" in str(shell.host.failed)
        assert "Operator action" in str(shell.host.failed)

    asyncio.run(story())


def test_an_unknown_outcome_ends_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that may or may not have happened is not guessed about."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 1))
        await shell.step()
        shell.broker.meets = [BrokerError("the outcome is unknown")]
        await shell.host.cut()
        assert str(shell.host.failed) == "the outcome is unknown"

    asyncio.run(story())


@pytest.mark.parametrize("where", ["fails", "fails_to_collect"])
@pytest.mark.parametrize("bug", [ValueError("of no use"), PanicException("of no use")])
def test_a_bug_stops_the_task_with_a_word(
    monkeypatch: pytest.MonkeyPatch, where: str, bug: BaseException
) -> None:
    """An unforeseen error in a step or a cut becomes a failure of the host, never a silence."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(0.0, cut_interval_seconds=0.001))
        setattr(shell.runner, where, bug)
        shell.host.start()
        shell.host.put(chunk("a", 0, 1))
        await until(lambda: shell.host.failed)
        await shell.host.stop(cut=True)
        assert isinstance(shell.host.failed, StateError)
        assert f"failed: {type(bug).__name__} at streams/runtime/" in str(shell.host.failed)
        assert "Operator action" in str(shell.host.failed)
        assert shell.broker.commits == []

    asyncio.run(story())


def test_a_state_that_cannot_be_read_back_ends_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the restart after a refused commit meets a bug, the task fails; it does not stand."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 1))
        await shell.step()
        shell.broker.meets = [CommitRefusedError("fenced")]
        shell.broker.fails_to_restore = KeyError("positions")
        await shell.host.cut()
        assert isinstance(shell.host.failed, StateError)
        assert "failed: KeyError at streams/runtime/" in str(shell.host.failed)

    asyncio.run(story())


def test_a_named_failure_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error raised on purpose is passed on as it is."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.runner.fails = error = StateError("the state is damaged")
        shell.host.start()
        await until(lambda: shell.host.failed)
        assert shell.host.failed is error
        await shell.host.stop(cut=False)

    asyncio.run(story())


@pytest.mark.parametrize("cut", [True, False])
def test_the_end_commits_only_when_asked(monkeypatch: pytest.MonkeyPatch, cut: bool) -> None:
    """A planned stop commits what is done; a lost partition's task just ends. Both let go."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 1))
        await shell.step()
        await shell.host.stop(cut=cut)
        shell.host.put(chunk("a", 1, 2))
        assert shell.host.inbox == (0, 0), "it is for whoever has the task next"
        assert len(shell.broker.commits) == cut
        assert shell.broker.closed == 1

    asyncio.run(story())


def test_a_host_at_work_steps_and_cuts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once started, what is put in is joined and committed without further ado."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(0.0, cut_interval_seconds=0.001))
        shell.host.start()
        shell.host.put(chunk("a", 0, 3))
        await until(lambda: shell.broker.commits)
        assert shell.broker.commits[-1].offsets == {("a", PARTITION): 3}
        await shell.host.stop(cut=True)
        assert shell.host.failed is None

    asyncio.run(story())


# --- restoring and recalling


def test_a_host_goes_on_where_another_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second holder of a partition begins at the first one's last commit."""

    async def story() -> None:
        first = Shell(monkeypatch)
        first.host.put(chunk("a", 0, 7))
        await first.step()
        await first.host.stop(cut=True)
        second = Shell(monkeypatch, broker=first.broker)
        assert second.runner.positions == {"a": 7}

    asyncio.run(story())


def test_what_the_broker_deleted_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that expired before they were read are counted as lost, and the task goes on."""

    async def story() -> None:
        first = Shell(monkeypatch)
        first.host.put(chunk("a", 0, 7))
        await first.step()
        await first.host.stop(cut=True)
        first.broker.low = {"a": 12}
        second = Shell(monkeypatch, broker=first.broker)
        assert second.runner.positions == {"a": 12}
        assert second.host.lost_to_retention == 5

    asyncio.run(story())


def test_a_new_group_begins_where_the_topic_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a state nothing was lost: reading begins at the first record that is there."""
    broker = FakeBroker()
    broker.low = {"a": 12}
    shell = Shell(monkeypatch, broker=broker)
    assert shell.runner.positions == {"a": 12}
    assert shell.host.lost_to_retention == 0


@pytest.mark.parametrize(
    ("stood", "is_refused"),
    [
        ({"a": 5, "b": 0}, True),
        ({"a": 0, "b": 0}, False),  # it has read nothing
        ({"a": 5}, False),  # another task read it: a join commits all of its topics
    ],
)
def test_a_state_that_was_deleted_is_missed(
    monkeypatch: pytest.MonkeyPatch, stood: dict[str, int], is_refused: bool
) -> None:
    """The group's offsets are left: begun anew, the join would publish every trace once more."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"))
        shell.stood = stood
        if is_refused:
            with pytest.raises(StateError, match=r"deleted.*Operator action: restore the change"):
                shell.restore()
        else:
            shell.restore()

    asyncio.run(story())


def test_a_state_that_is_there_asks_nobody_for_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds says more, and each restore would cost a question to the group."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.cut()
        shell.stood = {"a": 2}
        shell.restore()
        assert shell.runner.positions == {"a": 2}

    asyncio.run(story())


def test_recalls_are_answered_from_outside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that must be read back is asked for once, and its events reach the task."""
    asked: list[tuple[int, list[tuple[bytes, int, int]]]] = []

    def recall(
        partition: int, wanted: list[tuple[bytes, int, int]]
    ) -> dict[bytes, list[bytes] | None]:
        asked.append((partition, wanted))
        return {b"t": [b"one"], b"gone": None}

    async def story() -> None:
        shell = Shell(monkeypatch, recall=recall)
        shell.runner.recalls = wanted = [(b"t", 5, 1), (b"gone", 6, 2)]
        await shell.step()
        await until(lambda: shell.runner.given)
        assert asked == [(PARTITION, wanted)]
        assert shell.runner.given == [(b"t", [b"one"]), (b"gone", None)]

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(story())


def test_a_recall_that_waits_holds_up_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for a dead worker's transaction, and has threads of its own."""
    may_end = threading.Event()

    def recall(
        _partition: int, _wanted: list[tuple[bytes, int, int]]
    ) -> dict[bytes, list[bytes] | None]:
        assert may_end.wait(60)
        return {}

    async def story() -> None:
        shell = Shell(monkeypatch, recall=recall, recall_pool=ThreadPoolExecutor(1))
        shell.runner.recalls = [(b"t", 5, 1)]
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        async with asyncio.timeout(60):
            await shell.host.cut()
        assert len(shell.broker.commits) == 1
        may_end.set()
        await shell.host.stop(cut=False)

    asyncio.run(story())
