"""The local copy is believed only when it is whole: damage gives nothing, never something wrong."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Rdict

from streams.errors import StateError
from streams.state.live import piece_key
from streams.state.local import LocalState
from streams.state.segment import encode_pieces, scalars_segment

PIECES = [
    (piece_key(number, 0), encode_pieces(scalars_segment({"n": number}), 3, number)[0])
    for number in range(4)
]


def written(folder: Path, rows: list[tuple[bytes, bytes]] | None = None) -> Path:
    """Make a copy that holds some pieces, on disk as after an orderly stop."""
    local = LocalState(folder)
    local.write(3, rows or PIECES[:3], 70, replace=True)
    local.close()
    return folder


def loaded(folder: Path) -> list[bytes] | None:
    """Return the pieces that a fresh process believes."""
    local = LocalState(folder)
    try:
        found = local.load()
    finally:
        local.close()
    return found and sorted(found[0])


def test_nothing_written_is_nothing_to_believe(tmp_path: Path) -> None:
    """A folder that is not there gives None."""
    assert loaded(tmp_path / "state") is None


def test_what_was_written_is_read_with_its_position(tmp_path: Path) -> None:
    """Pieces added over two writes come back, with the changelog offset of the last."""
    local = LocalState(written(tmp_path))
    local.load()
    local.write(3, PIECES[3:], 90, replace=False)
    local.close()
    again = LocalState(tmp_path)
    found = again.load()
    again.close()
    assert found is not None
    assert sorted(found[0]) == sorted(value for _, value in PIECES)
    assert (found[1].generation, found[1].pieces, found[1].changelog_offset) == (3, 4, 90)


def test_a_full_state_replaces_all_earlier_pieces(tmp_path: Path) -> None:
    """After a write that replaces, nothing of the earlier generation is left."""
    local = LocalState(written(tmp_path))
    local.load()
    local.write(4, PIECES[3:], 90, replace=True)
    local.close()
    assert loaded(tmp_path) == [PIECES[3][1]]


def test_a_second_holder_is_refused_and_destroys_nothing(tmp_path: Path) -> None:
    """While one process holds the database another gets a StateError that says what to do."""
    holder = LocalState(written(tmp_path))
    assert holder.load() is not None
    with pytest.raises(StateError, match=r"held by another process.*Operator action"):
        LocalState(tmp_path).load()
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
    written(tmp_path)
    assert loaded(tmp_path) == sorted(value for _, value in PIECES[:3])


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_never_gives_another_state(tmp_path: Path, seed: int) -> None:
    """A bit of any file that holds data: all pieces are right, or there are none."""
    rng = random.Random(seed)
    rows = [(piece_key(0, i), PIECES[i % 4][1] + rng.randbytes(3_000)) for i in range(8)]
    good = [
        (key, encode_pieces(scalars_segment({"x": value.hex()}), 1, 0)[0]) for key, value in rows
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
    local = LocalState(tmp_path)
    database: Rdict = local._open()
    if change == "remove":
        database.delete(PIECES[1][0])
    else:
        database[PIECES[1][0] if change == "alter" else b"9/9"] = PIECES[3][1]
    local.close()
    assert loaded(tmp_path) is None
