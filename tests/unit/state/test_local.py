"""The local copy is believed only when it is whole: damage gives nothing, never something wrong."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Rdict

from streams.errors import StateError
from streams.state import local as local_module
from streams.state.live import LiveSegments, piece_key
from streams.state.local import DamagedCopyError, LocalState, NoRoomError
from streams.state.segment import encode_pieces, scalars_segment
from tests.unit.state.state_cases import pieces

COPY_OF = "spanloom.changelog/3"
PIECES = [(piece_key(3, number, 0), pieces(3, number)[0]) for number in range(4)]


def written(folder: Path, rows: list[tuple[bytes, bytes]] | None = None) -> Path:
    """Make a copy that holds some pieces, on disk as after an orderly stop."""
    local = LocalState(folder, COPY_OF)
    local.write(rows or PIECES[:3], 70, replace=True)
    local.close()
    return folder


def loaded(folder: Path) -> list[bytes] | None:
    """Return the pieces that a fresh process believes; it checks each of them."""
    local = LocalState(folder, COPY_OF)
    try:
        found = local.load()
        if found is not None:
            LiveSegments().add(value for _, value in found[0])
    except (DamagedCopyError, StateError):
        return None
    finally:
        local.close()
    return found and sorted(value for _, value in found[0])


def test_nothing_written_is_nothing_to_believe(tmp_path: Path) -> None:
    """A folder that is not there gives None."""
    assert loaded(tmp_path / "state") is None


def test_what_was_written_is_read_with_its_position(tmp_path: Path) -> None:
    """Pieces added over two writes come back, with the changelog offset of the last."""
    local = LocalState(written(tmp_path), COPY_OF)
    local.load()
    local.write(PIECES[3:], 90, replace=False)
    local.close()
    again = LocalState(tmp_path, COPY_OF)
    assert again.load() == (PIECES, 90)
    assert again.get(PIECES[2][0]) == PIECES[2][1]
    again.close()


def test_what_the_changelog_deleted_is_deleted(tmp_path: Path) -> None:
    """A record without value takes its key away, even one that was never there."""
    local = LocalState(written(tmp_path), COPY_OF)
    local.load()
    local.write([(PIECES[0][0], None), (b"never", None)], 90, replace=False)
    with pytest.raises(DamagedCopyError, match="damaged"):
        local.get(PIECES[0][0])
    local.close()
    assert loaded(tmp_path) == sorted(value for _, value in PIECES[1:3])


def test_a_write_that_replaces_leaves_nothing_else(tmp_path: Path) -> None:
    """A copy that is made anew holds nothing of the one before."""
    local = LocalState(written(tmp_path), COPY_OF)
    local.load()
    local.write(PIECES[3:], 90, replace=True)
    local.close()
    assert loaded(tmp_path) == [PIECES[3][1]]


def test_a_second_holder_is_refused_and_destroys_nothing(tmp_path: Path) -> None:
    """While one process holds the database another gets a StateError that says what to do."""
    holder = LocalState(written(tmp_path), COPY_OF)
    assert holder.load() is not None
    with pytest.raises(StateError, match=r"held by another process.*Operator action"):
        LocalState(tmp_path, COPY_OF).load()
    holder.close()
    assert loaded(tmp_path) is not None


Damage = Callable[[Path], None]


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x10
    path.write_bytes(content)


def cut_manifest(database: Path) -> None:
    path = next(database.glob("MANIFEST-*"))
    path.write_bytes(path.read_bytes()[:-10])


def empty_manifest(database: Path) -> None:
    next(database.glob("MANIFEST-*")).write_bytes(b"")


def lose_current(database: Path) -> None:
    (database / "CURRENT").unlink()


def lose_tables(database: Path) -> None:
    for path in database.glob("*.sst"):
        path.unlink()


def lose_all(database: Path) -> None:
    for path in database.iterdir():
        path.unlink()


def write_rubbish(database: Path) -> None:
    for path in database.iterdir():
        path.write_bytes(b"rubbish")


@pytest.mark.parametrize(
    "damage",
    [cut_manifest, empty_manifest, lose_current, lose_tables, lose_all, write_rubbish],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_copy_is_thrown_away(tmp_path: Path, damage: Damage) -> None:
    """Whatever file is cut or gone: the copy is not believed, and the next one begins afresh."""
    damage(written(tmp_path) / "db")
    assert loaded(tmp_path) in (None, sorted(value for _, value in PIECES[:3]))
    LocalState(tmp_path, COPY_OF).wipe()
    written(tmp_path)
    assert loaded(tmp_path) == sorted(value for _, value in PIECES[:3])


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_never_gives_another_state(tmp_path: Path, seed: int) -> None:
    """A bit of any file that holds data: all pieces are right, or there are none."""
    rng = random.Random(seed)
    good = [
        (
            piece_key(1, i, 0),
            encode_pieces(scalars_segment({"x": rng.randbytes(3_000).hex()}), 1, i)[0],
        )
        for i in range(8)
    ]
    database = written(tmp_path, good) / "db"
    files = sorted(
        p for p in database.iterdir() if p.suffix in (".sst", ".log") and p.stat().st_size
    )
    path = rng.choice(files or [next(database.glob("MANIFEST-*"))])
    flip(path, rng.randrange(path.stat().st_size))
    assert loaded(tmp_path) in (None, sorted(value for _, value in good))


@pytest.mark.parametrize("change", ["remove", "alter", "add"])
def test_pieces_that_do_not_fit_the_manifest_are_not_believed(tmp_path: Path, change: str) -> None:
    """Each piece may be whole, and yet one is missing, of another time, or too many."""
    written(tmp_path)
    local = LocalState(tmp_path, COPY_OF)
    database: Rdict = local._open()
    if change == "remove":
        database.delete(PIECES[1][0])
    else:
        database[PIECES[1][0] if change == "alter" else b"9/9"] = PIECES[3][1]
    local.close()
    assert loaded(tmp_path) is None


def test_a_copy_of_another_format_is_named_as_one(tmp_path: Path) -> None:
    """An upgrade does not read what an earlier version copied, and says why it reads it again."""
    local = LocalState(written(tmp_path), COPY_OF)
    database: Rdict = local._open()
    for earlier in ({"format": 1}, {"generation": 3, "pieces": 2, "checksum": 1}):
        database[b"manifest"] = json.dumps(earlier).encode()
        with pytest.raises(DamagedCopyError, match="other_format"):
            local.load()
    local.close()


@pytest.mark.parametrize("other", ["spanloom.changelog/4", "other.changelog/3"])
def test_the_copy_of_another_task_is_foreign(tmp_path: Path, other: str) -> None:
    """It is whole and without fault; only its name says that it is another's."""
    local = LocalState(written(tmp_path), other)
    with pytest.raises(DamagedCopyError, match=r"foreign: it is a copy of spanloom.changelog/3"):
        local.load()
    local.close()


def test_a_folder_deleted_in_between_is_seen_by_the_next_write(tmp_path: Path) -> None:
    """RocksDB would go on to write into files that nobody can open again."""
    local = LocalState(written(tmp_path / "state"), COPY_OF)
    local.load()
    shutil.rmtree(tmp_path / "state")
    with pytest.raises(DamagedCopyError, match="removed"):
        local.write(PIECES[3:], 90, replace=False)
    local.wipe()
    local.write(PIECES, 90, replace=True)
    local.close()
    assert loaded(tmp_path / "state") == sorted(value for _, value in PIECES)


def test_a_database_that_went_back_is_not_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error the database is opened again; if it lost something, a hole would follow."""
    local = LocalState(written(tmp_path), COPY_OF)
    local.load()
    local.write(PIECES[3:], 90, replace=False)
    older = tmp_path / "older"
    written(older)
    monkeypatch.setattr(local, "_open", _failing(OSError(5, "Input/output error")))
    with pytest.raises(DamagedCopyError, match="write_failed"):
        local.write(PIECES[3:], 95, replace=False)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "db")
    (older / "db").rename(tmp_path / "db")
    with pytest.raises(DamagedCopyError, match="went back"):
        local.write(PIECES[3:], 95, replace=False)
    local.close()


def _failing(error: Exception) -> Callable[[], Rdict]:
    def fails() -> Rdict:
        raise error

    return fails


def test_a_disk_with_little_room_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the minimum no write is begun, and the copy is as it was; with room it goes on."""
    local = LocalState(written(tmp_path), COPY_OF, free_bytes_min=1_000)
    local.load()
    disk = local_module.os.statvfs(tmp_path)
    free = type("Disk", (), {"f_bavail": 0, "f_frsize": disk.f_frsize})()
    monkeypatch.setattr(local_module.os, "statvfs", lambda _: free)
    with pytest.raises(NoRoomError, match="disk_free_min_bytes"):
        local.write(PIECES[3:], 90, replace=False)
    monkeypatch.undo()
    local.write(PIECES[3:], 90, replace=False)
    local.close()
    assert loaded(tmp_path) == sorted(value for _, value in PIECES)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("IO error: No space left on device: While appending to file: /s/db/4.sst", NoRoomError),
        ("IO error: Disk quota exceeded: While mkdir", NoRoomError),
        ("IO error: While open a file for appending: Read-only file system", StateError),
        ("IO error: While mkdir: Permission denied", StateError),
        ("IO error: While open directory: /s/db: Too many open files", StateError),
        ("Too many open files (os error 24)", StateError),
        ("Corruption: block checksum mismatch", DamagedCopyError),
    ],
)
def test_what_the_database_says_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, kind: type[Exception]
) -> None:
    """A full disk is waited for, one that is not ours to write stops, the rest is made anew."""
    local = LocalState(tmp_path, COPY_OF)
    monkeypatch.setattr(local, "_open", _failing(Exception(words)))
    for call in (local.load, lambda: local.get(b"k"), lambda: local.write([], 1, replace=True)):
        with pytest.raises(kind):
            call()
