"""Compiled loops do what they say, and nothing needs them."""

import random
import subprocess
import sys
from mmap import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import streams
from streams.codec.otlp.texts import TextHashes
from streams.codec.otlp.walk import words_of
from streams.compiled import loading, loops
from streams.core.bodies import Scattered
from tests.judge_cases import randoms


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """The loops, as a worker has them."""
    assert loading.load()


def pieces_of(rng: random.Random) -> Scattered:
    """Return strings in several buffers: empty ones, whole ones, the same one twice."""
    buffers = [rng.randbytes(rng.choice((0, 1, 40, 900))) for _ in range(rng.randint(1, 5))]
    rows = []
    for _ in range(rng.randint(0, 30)):
        i = rng.randrange(len(buffers))
        begin = rng.randint(0, len(buffers[i]))
        rows.append((i, begin, rng.randint(0, len(buffers[i]) - begin)))
    source, start, size = np.array(rows, np.int64).reshape(len(rows), 3).T
    return Scattered(buffers, source, start, size)


@settings(max_examples=200)
@given(randoms)
def test_pieces_are_gathered_as_they_are_cut(rng: random.Random) -> None:
    """In their order, from any number of buffers."""
    pieces = pieces_of(rng)
    assert loops.loops() is not None
    assert pieces.joined() == b"".join(pieces.part(slice(None)))


def test_a_mapped_file_is_let_go_of(tmp_path: Path) -> None:
    """One whose events lie on disk is unmapped when they are gone."""
    path = tmp_path / "events"
    path.write_bytes(b"one, two, three")
    with path.open("rb") as file, mmap(file.fileno(), 0, prot=1) as mapped:
        at = np.array([5, 0])
        assert (
            Scattered([mapped], np.zeros(2, np.int64), at, np.array([3, 3])).joined() == b"twoone"
        )
    assert mapped.closed


@settings(max_examples=100)
@given(randoms)
def test_hashes_are_those_of_columns(rng: random.Random) -> None:
    """A process loads its loops while its tables of hashes are in use."""
    made, hashing = loops.loops(), TextHashes(40)
    assert made is not None
    texts = [rng.randbytes(rng.choice((0, 1, 7, 8, 9, 16, 39, 40, 41, 90))) for _ in range(30)]
    data = bytes(8) + b"".join(texts) + bytes(8)
    size = np.array([len(text) for text in texts])
    at = 8 + np.cumsum(size) - size
    words = words_of(np.frombuffer(data, np.uint8))
    compiled = hashing.of(words, at, size)
    loops._loaded.clear()
    try:
        assert hashing.of(words, at, size).tolist() == compiled.tolist()
    finally:
        loops.use(made)


def test_a_loop_that_reads_wrongly_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compiler's fault is found before anything is read by what it made."""
    made = loops.loops()
    assert made is not None

    class Wrong:
        walk = staticmethod(lambda *_: False)
        entries = staticmethod(made.entries)
        gather = staticmethod(made.gather)
        hashes = staticmethod(made.hashes)

    monkeypatch.setattr(loops, "_loaded", [])
    monkeypatch.setattr(loading, "_made", lambda _: Wrong)
    assert not loading.load()
    assert loops.loops() is None
    assert "compiled_loops_missing" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["torn index", "torn code", "other kinds"])
def test_what_is_kept_and_of_no_use_is_compiled_anew(tmp_path: Path, harm: str) -> None:
    """A power cut amid a write, or a new version with the same file of loops; it is kept again."""
    whole = kept_by(tmp_path, "")
    assert whole
    if harm == "other kinds":
        swap = "from streams.compiled import kinds as k; k.TEXT, k.LIST = k.LIST, k.TEXT; "
    else:
        swap = ""
        for path in tmp_path.rglob("*.nbi" if harm == "torn index" else "*.nbc"):
            path.write_bytes(path.read_bytes()[:40])
    assert kept_by(tmp_path, swap) == []
    assert kept_by(tmp_path, swap) == whole


def kept_by(folder: Path, first: str) -> list[str]:
    """Load the loops in a process that keeps them in a folder; return what lies there then."""
    code = f"{first}from streams.compiled.loading import load; raise SystemExit(not load())"
    root = str(Path(streams.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": root, "NUMBA_CACHE_DIR": str(folder)},
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, "missing" in done.stdout) == (0, False), done.stdout + done.stderr
    return sorted(path.name for path in folder.rglob("kernels.*.nb?"))


@pytest.mark.slow
def test_a_process_without_a_place_for_them_compiles_for_itself(tmp_path: Path) -> None:
    """An image whose files and home are not to be written."""
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []; "
        "from streams.compiled.loading import load; raise SystemExit(0 if load() else 1)"
    )
    root = str(Path(streams.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": root, "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
