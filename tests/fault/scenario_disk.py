"""The disk of the local state gets full under load; then there is room again."""

import errno
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.fault.run import CannotRunError, Run

DISK_MEGABYTES: Final = 24
FULL_SECONDS: Final = (6.0, 15.0)
ROOM_SECONDS: Final = (3.0, 6.0)
BLOCK: Final = b"\xff" * 65_536


def disk(run: Run) -> None:
    """Fill the disk of a worker's state `--kills` times, kill it there in half of them."""
    seat = run.seats[0]
    run.fleet.terminate(seat)
    place = run.fleet.state(seat)
    _mount(run, place)
    run.fleet.start(seat)
    run.wait_until_recovered([seat])
    for _ in range(run.plan.kills):
        run.wait(run.chance.uniform(*ROOM_SECONDS))
        ends = len(run.fleet.own_ends)
        run.note("disk full", seat)
        fill(place / "filler")
        run.wait(run.chance.uniform(*FULL_SECONDS) / 2)
        if seat in run.fleet.living and run.chance.random() < 0.5:
            run.note("kill", seat, "while the disk is full")
            run.fleet.kill(seat)
            run.fleet.start(seat)
        fill(place / "filler")  # what a restart gave back
        run.wait(run.chance.uniform(*FULL_SECONDS) / 2)
        (place / "filler").unlink()
        run.say(f"            there is room again; {len(run.fleet.own_ends) - ends} own ends")
        run.wait_for_output(time.time(), "output_after_room_s")


def fill(filler: Path) -> int:
    """Write until there is no room; return how many bytes that took."""
    written = 0
    with filler.open("ab", buffering=0) as file:
        block = BLOCK
        while block:
            try:
                written += file.write(block)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                block = block[: len(block) // 2]
    return written


def _mount(run: Run, place: Path) -> None:
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError:
        problem = "there is no mount command"
    if problem:
        raise CannotRunError(f"scenario disk needs to mount a small tmpfs: {problem}")
    run.cleanups.append(lambda: subprocess.run(["umount", str(place)], check=True))
