"""The buffer: what it says is safe is read again after any end, in order, and within its bound."""

import errno
import os
import random
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streams.collector import buffer as module
from streams.collector.buffer import Buffer
from streams.collector.parcel import Parcel
from streams.collector.segments import (
    FILE_HEAD_BYTES,
    MAGIC,
    ending_of,
    frame_of,
    frames_of,
    parcel_bytes,
    parcels_of,
)
from streams.errors import StateError

WORD = b"\x01word"[:4]
HEAD = MAGIC + WORD
parcels = st.builds(
    Parcel,
    st.text("abcz.-_0", min_size=1, max_size=20),
    st.integers(-1, 2**31 - 1),
    st.none() | st.binary(max_size=20),
    st.binary(max_size=200),
    st.integers(0, 1_000),
)
frames = st.lists(st.lists(parcels, min_size=1, max_size=4), max_size=5)


def file_of(groups: list[list[Parcel]]) -> bytes:
    return HEAD + b"".join(frame_of(group, WORD) for group in groups)


@settings(max_examples=40, deadline=None)
@given(frames)
def test_frames_come_back(groups: list[list[Parcel]]) -> None:
    """Each parcel as it was, frame by frame."""
    data = file_of(groups)
    found = [parcels_of(frame.payload) for frame in frames_of(data, FILE_HEAD_BYTES, WORD)]
    assert found == groups
    ending = ending_of(data)
    assert (ending.whole_bytes, ending.frames) == (len(data), len(groups))
    assert ending.events == sum(p.events for group in groups for p in group)
    assert not ending.is_damaged


@settings(max_examples=40, deadline=None)
@given(frames.filter(bool), st.data())
def test_a_torn_end_loses_only_what_was_promised_to_nobody(
    groups: list[list[Parcel]], data: st.DataObject
) -> None:
    """Cut anywhere in the last frame, with or without zeros behind: all before it is whole."""
    whole, before = file_of(groups), len(file_of(groups[:-1]))
    cut = data.draw(st.integers(before, len(whole) - 1))
    torn = whole[:cut] + bytes(data.draw(st.integers(0, 50)))
    if torn[: len(whole)] == whole:
        return
    ending = ending_of(torn)
    assert (ending.whole_bytes, ending.frames) == (before, len(groups) - 1)
    assert not ending.is_damaged


def test_damage_before_a_whole_frame_is_told() -> None:
    """A flipped byte in a frame that was promised."""
    groups = [[Parcel("t", n, None, b"value", 1)] for n in range(3)]
    data = bytearray(file_of(groups))
    data[len(file_of(groups[:1])) + 20] ^= 1
    assert ending_of(bytes(data)).is_damaged


def parcel(n: int, size: int = 100) -> Parcel:
    return Parcel("telemetry.other.v1", n % 4, None, n.to_bytes(4, "big") * (size // 4), 1)


class Told:
    """Waits for what is said of parcels."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._done = threading.Condition()

    def __call__(self, said: str) -> None:
        with self._done:
            self.said.append(said)
            self._done.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._done:
            assert self._done.wait_for(lambda: len(self.said) >= count, 120)
            return self.said


def filled(folder: Path, count: int, segment_bytes: int = 2_000) -> Buffer:
    """Return a buffer that holds parcels 0 to count - 1, safe."""
    made = Buffer(folder, 10 << 20, segment_bytes)
    for n in range(count):
        told = Told()
        made.add(parcel(n), told)
        assert told.wait(1) == [""]
    return made


def drained(buffer: Buffer) -> list[Parcel]:
    """Read and release everything."""
    found: list[Parcel] = []
    while True:
        some, mark = buffer.read(1_000, 0)
        if mark is None:
            return found
        found += some
        buffer.release(mark, sum(p.events for p in some))


def test_what_is_safe_is_read_in_order_and_then_gone(tmp_path: Path) -> None:
    """Over several files; they go as they are read."""
    buffer = filled(tmp_path, 60)
    assert len(list(tmp_path.glob("*.parcels"))) > 2
    assert buffer.held_events == 60
    assert drained(buffer) == [parcel(n) for n in range(60)]
    assert buffer.is_empty
    assert (buffer.held_bytes, buffer.held_events) == (0, 0)
    assert list(tmp_path.glob("*.parcels")) == []
    told = Told()
    buffer.add(parcel(60), told)
    assert told.wait(1) == [""]
    assert drained(buffer) == [parcel(60)]
    buffer.close()


def test_a_crash_loses_nothing_that_was_safe(tmp_path: Path) -> None:
    """The files as they lie, with half a frame behind: another buffer reads all of it."""
    first = filled(tmp_path, 40)
    last = max(tmp_path.glob("*.parcels"))
    with last.open("ab") as file:
        file.write(last.read_bytes()[4:8] + b"\x00\x01 half a frame")
    second = Buffer(tmp_path, 10 << 20, 2_000)
    assert second.torn_bytes > 0
    assert second.held_events == 40
    assert drained(second) == [parcel(n) for n in range(40)]
    second.close()
    del first


def test_what_was_read_and_not_released_is_read_again(tmp_path: Path) -> None:
    """From where it was released last."""
    buffer = filled(tmp_path, 30, 1 << 20)
    some, mark = buffer.read(500, 0)
    assert mark is not None
    buffer.release(mark, len(some))
    more, _ = buffer.read(500, 0)
    buffer.rewind()
    again, _ = buffer.read(500, 0)
    assert again == more != some
    assert buffer.held_events == 30 - len(some)
    buffer.close()


def test_it_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    """Then it says that it is full, and takes more when some was released."""
    buffer = Buffer(tmp_path, 20_000, 5_000)
    told = Told()
    for n in range(300):
        buffer.add(parcel(n), told)
    said = told.wait(300)
    assert set(said) == {"", "buffer_full"}
    held = sum(path.stat().st_size for path in tmp_path.glob("*.parcels"))
    assert held <= 20_000 + 1_000  # heads of frames are not counted before they are written
    assert said.count("") * parcel_bytes(parcel(0)) <= 20_000
    assert len(drained(buffer)) == said.count("")
    again = Told()
    buffer.add(parcel(0), again)
    assert again.wait(1) == [""]
    buffer.close()


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that anything is safe; what was safe before is read, and it recovers."""
    buffer = filled(tmp_path, 3, 1 << 20)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        told = Told()
        buffer.add(parcel(3), told)
        assert told.wait(1) == ["buffer_unwritable"]
    told = Told()
    buffer.add(parcel(4), told)
    assert told.wait(1) == [""]
    assert drained(buffer) == [parcel(n) for n in (0, 1, 2, 4)]
    buffer.close()


def test_a_full_disk_is_told_once_and_found_out_when_it_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try that fails takes its file with it: there may be one a request, for hours."""
    monkeypatch.setattr(module, "TRIAL_SECONDS", 0.05)
    buffer = filled(tmp_path, 3, 1 << 20)
    before = sorted(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    told = Told()
    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        patch.setattr(os, "posix_fallocate", full)
        for n in range(20):
            buffer.add(parcel(n), told)
            told.wait(n + 1)
        assert told.said == ["buffer_unwritable"] * 20
        assert [path for path in sorted(tmp_path.glob("*.parcels")) if path not in before] == []
        assert buffer.said == "No space left on device"
    assert [line["event"] for line in lines] == ["buffer_unwritable"]
    until = time.monotonic() + 60
    while buffer.said:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert sorted(tmp_path.iterdir()) == before
    assert drained(buffer) == [parcel(n) for n in range(3)]
    buffer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", [0, 3])
def test_a_disk_that_lets_nothing_go_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """One that turns read-only refuses the frame, and then to remove the file without frames."""
    monkeypatch.setattr(module, "TRIAL_SECONDS", 0.05)
    buffer = filled(tmp_path, held, 1 << 20)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", read_only)
        patch.setattr(os, "posix_fallocate", read_only)
        patch.setattr(Path, "unlink", read_only)
        for n in range(3):
            told = Told()
            buffer.add(parcel(n), told)
            assert told.wait(1) == ["buffer_unwritable"]
        assert buffer.is_alive
        assert drained(buffer) == [parcel(n) for n in range(held)]
        assert (buffer.held_bytes, buffer.is_empty) == (0, True)
    told = Told()
    buffer.add(parcel(9), told)
    assert told.wait(1) == [""]
    buffer.close()
    again = Buffer(tmp_path, 10 << 20, 1 << 20)
    assert drained(again) == [*(parcel(n) for n in range(held)), parcel(9)], "sent again, not lost"
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_all_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Woken for nothing, the writer waits again: a trial costs a sync, and may say a wrong word."""
    buffer = Buffer(tmp_path, 10 << 20, 1 << 20)
    tried: list[bool] = []
    monkeypatch.setattr(buffer, "_try", lambda: tried.append(True))
    looked = threading.Event()
    wait = buffer._work.wait

    def woken(seconds: float | None) -> bool:
        if looked.is_set():
            return wait(seconds)
        looked.set()
        return True

    monkeypatch.setattr(buffer._work, "wait", woken)
    told = Told()
    buffer.add(parcel(0), told)  # then the writer waits, is woken for nothing, and waits again
    assert told.wait(1) == [""]
    assert looked.wait(120)
    buffer.close()
    assert tried == []


def test_damage_stops_the_start(tmp_path: Path) -> None:
    """With the file, the place and what to do."""
    filled(tmp_path, 10, 1 << 20).close()
    (path,) = tmp_path.glob("*.parcels")
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"is damaged at byte \d+.*Operator action: mend"):
        Buffer(tmp_path, 10 << 20, 2_000)


def test_many_writers_and_a_reader_lose_nothing(tmp_path: Path) -> None:
    """Whatever the order of the threads: each parcel that is safe is read once."""
    buffer = Buffer(tmp_path, 1 << 20, 4_000)
    told, found, chance = Told(), [], random.Random(5)
    writers = [
        threading.Thread(
            target=lambda k=k: [buffer.add(parcel(k * 1_000 + n), told) for n in range(200)]
        )
        for k in range(3)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers) or not buffer.is_empty:
        some, mark = buffer.read(2_000, 0.01)
        if mark is None:
            continue
        if chance.random() < 0.2:
            buffer.rewind()
            continue
        found += some
        buffer.release(mark, len(some))
    assert told.wait(600) == [""] * 600
    assert sorted(p.value for p in found) == sorted(
        parcel(k * 1_000 + n).value for k in range(3) for n in range(200)
    )
    for k in range(3):
        numbers = [int.from_bytes(p.value[:4], "big") for p in found]
        mine = [n for n in numbers if n // 1_000 == k]
        assert mine == sorted(mine)
    buffer.close()
