"""The local state is damaged, old, torn, swapped, held or gone; the result must be the same."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from tests.fault.run import POLL_SECONDS, Run

WARM_SECONDS: Final = (1.0, 4.0)
HELD_SECONDS: Final = 15.0

Damage = Callable[[list[Path], Random], int]
"""Damages the databases of a stopped worker; returns how many files it changed."""


def _files(copies: list[Path], pattern: str) -> list[Path]:
    return [path for copy in copies for path in sorted(copy.rglob(pattern)) if path.is_file()]


def wal_cut(copies: list[Path], chance: Random) -> int:
    """Cut each write-ahead log somewhere."""
    return sum(_cut(path, chance) for path in _files(copies, "*.log"))


def wal_flip(copies: list[Path], chance: Random) -> int:
    """Flip a bit in each write-ahead log."""
    return sum(_flip(path, chance) for path in _files(copies, "*.log"))


def sst_flip(copies: list[Path], chance: Random) -> int:
    """Flip a bit in each table file."""
    return sum(_flip(path, chance) for path in _files(copies, "*.sst"))


def manifest_cut(copies: list[Path], chance: Random) -> int:
    """Cut RocksDB's list of files."""
    return sum(_cut(path, chance) for path in _files(copies, "MANIFEST-*"))


def current_gone(copies: list[Path], chance: Random) -> int:
    """Take away the file that names the list of files."""
    found = _files(copies, "CURRENT")
    for path in found:
        path.unlink()
    return len(found)


def emptied(copies: list[Path], chance: Random) -> int:
    """Empty every file, as a file system may after a power cut."""
    found = [path for path in _files(copies, "*") if path.stat().st_size]
    for path in found:
        path.write_bytes(b"")
    return len(found)


def half_gone(copies: list[Path], chance: Random) -> int:
    """Delete every other file."""
    found = _files(copies, "*")
    doomed = chance.sample(found, len(found) // 2)
    for path in doomed:
        path.unlink()
    return len(doomed)


def gone(copies: list[Path], chance: Random) -> int:
    """Delete all of it."""
    for copy in copies:
        shutil.rmtree(copy)
    return len(copies)


def swapped(copies: list[Path], chance: Random) -> int:
    """Give each task of a kind the database of another one."""
    by_kind: dict[str, list[Path]] = {}
    for copy in copies:
        by_kind.setdefault(copy.name.rpartition("-")[0], []).append(copy)
    changed = 0
    for group in by_kind.values():
        if len(group) < 2:
            continue
        aside = [copy.rename(copy.with_name(f"aside.{copy.name}")) for copy in group]
        for target, source in zip(group, aside[1:] + aside[:1], strict=True):
            source.rename(target)
        changed += len(group)
    return changed


def _cut(path: Path, chance: Random) -> bool:
    size = path.stat().st_size
    if not size:
        return False
    with path.open("r+b") as file:
        file.truncate(chance.randrange(size))
    return True


def _flip(path: Path, chance: Random) -> bool:
    content = bytearray(path.read_bytes())
    used = len(content.rstrip(b"\0"))  # room that was only reserved means nothing
    if not used:
        return False
    content[chance.randrange(used)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return True


STOPPED: Final[dict[str, Damage]] = {
    damage.__name__: damage
    for damage in (
        wal_cut,
        wal_flip,
        sst_flip,
        manifest_cut,
        current_gone,
        emptied,
        half_gone,
        gone,
        swapped,
    )
}
"""Done to a worker that does not run."""
RUNNING: Final = ("wal_cut", "sst_flip", "half_gone")
"""Done to one that runs, before it is killed."""
COPIES: Final = ("older_copy", "torn_copy")
"""An earlier copy of the state comes back: taken at rest, or from a worker that runs."""
KINDS: Final = (*STOPPED, *(f"running {name}" for name in RUNNING), *COPIES, "lock_held")


def damage(run: Run) -> None:
    """Do each kind of damage `--kills` times, in some order, to some worker."""
    kinds = [kind for kind in (run.plan.points or KINDS) for _ in range(run.plan.kills)]
    run.chance.shuffle(kinds)
    seats = [run.chance.choice(run.seats) for _ in kinds]
    for number, (kind, seat) in enumerate(zip(kinds, seats, strict=True)):
        # Its own source: how many files there are must not decide what the next damage is.
        chance = Random(f"{run.plan.seed}/damage/{number}")
        run.wait(chance.uniform(*WARM_SECONDS))
        harm(run, kind, seat, chance)
        run.wait_until_recovered(run.seats)


def harm(run: Run, kind: str, seat: str, chance: Random) -> None:
    """Do one kind of damage to one worker and start it again."""
    if kind == "lock_held":
        _hold(run, seat, chance)
        return
    if kind in COPIES:
        _bring_back(run, kind, seat, chance)
        return
    name = kind.removeprefix("running ")
    if name == "sst_flip":  # a restart writes what is in the log into tables
        run.fleet.kill(seat)
        run.fleet.start(seat)
        run.wait_until_recovered([seat])
    changed = 0
    if kind.startswith("running "):
        changed = STOPPED[name](run.fleet.local_copies(seat), chance)
        run.wait(chance.uniform(*WARM_SECONDS))
    if seat in run.fleet.living:
        _end(run, seat, chance)
    if not kind.startswith("running "):
        changed = STOPPED[name](run.fleet.local_copies(seat), chance)
    run.note(f"damage {kind}", seat, f"{changed} files")
    if not changed:
        run.notes.append(f"{kind} found nothing to damage at {seat}")
    run.fleet.start(seat)


def _end(run: Run, seat: str, chance: Random) -> None:
    (run.fleet.kill if chance.random() < 0.7 else run.fleet.terminate)(seat)


def _bring_back(run: Run, kind: str, seat: str, chance: Random) -> None:
    """Copy the state now, work on, and put the copy in the place of what it became."""
    state = run.fleet.state(seat)
    kept = state.with_name(f"{state.name}.kept")
    if kind == "older_copy":
        _end(run, seat, chance)
        shutil.copytree(state, kept)
        run.fleet.start(seat)
        run.wait_until_recovered([seat])
    else:
        _copy_torn(state, kept)
    run.wait(chance.uniform(*WARM_SECONDS))
    if seat in run.fleet.living:
        _end(run, seat, chance)
    shutil.rmtree(state)
    kept.rename(state)
    run.note(f"damage {kind}", seat)
    run.fleet.start(seat)


def _copy_torn(state: Path, kept: Path) -> None:
    """Copy what changes meanwhile: files may go away under the copy."""
    for path in sorted(state.rglob("*")):
        target = kept / path.relative_to(state)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except FileNotFoundError:
                continue  # RocksDB deleted it: the copy is torn, as it should be


def _hold(run: Run, seat: str, chance: Random) -> None:
    """Hold the locks of the databases: the worker must refuse, and go on when they are free."""
    _end(run, seat, chance)
    run.note("damage lock_held", seat)
    with held(_files(run.fleet.local_copies(seat), "LOCK")) as count:
        life = run.fleet.start(seat)
        until = time.monotonic() + HELD_SECONDS
        while life.is_alive and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
    if not count:
        run.notes.append(f"no lock to hold at {seat}")
    elif life.is_alive:
        run.notes.append(f"{seat} worked on beside held locks")


@contextmanager
def held(locks: list[Path]) -> Iterator[int]:
    """Hold files locked as another process would hold its databases."""
    files = [path.open("r+b") for path in locks]
    try:
        for file in files:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield len(files)
    finally:
        for file in files:
            file.close()
