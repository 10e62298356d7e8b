"""What the system says of a process tree: CPU, memory, open files, threads; Linux, from /proc."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """One process: its parent, CPU seconds with those of its reaped children, memory, threads."""

    parent: int
    cpu_s: float
    rss_bytes: int
    threads: int


@dataclass(frozen=True)
class Usage:
    """What a set of process trees uses, added up; memory that is shared counts in each process."""

    cpu_s: float = 0.0
    rss_bytes: int = 0
    rss_peak_bytes: int = 0
    threads: int = 0
    files: int = 0


def stat(pid: int) -> Stat | None:
    """Return what /proc says of a process, None when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    cpu_s = sum(int(word) for word in words[11:15]) / _TICK
    return Stat(int(words[1]), cpu_s, int(words[21]) * _PAGE_BYTES, int(words[17]))


def tree(roots: Iterable[int]) -> dict[int, Stat]:
    """Return the processes of some trees, roots included."""
    every = {int(d): s for d in os.listdir("/proc") if d.isdigit() and (s := stat(int(d)))}
    children: dict[int, list[int]] = {}
    for pid, one in every.items():
        children.setdefault(one.parent, []).append(pid)
    found: dict[int, Stat] = {}
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid in every and pid not in found:
            found[pid] = every[pid]
            todo += children.get(pid, [])
    return found


def usage(roots: Iterable[int]) -> Usage:
    """Return what the trees of some processes use now."""
    found = tree(roots)
    peaks = {pid: _peak_bytes(pid) or one.rss_bytes for pid, one in found.items()}
    return Usage(
        sum(one.cpu_s for one in found.values()),
        sum(one.rss_bytes for one in found.values()),
        sum(peaks.values()),
        sum(one.threads for one in found.values()),
        sum(_files(pid) for pid in found),
    )


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes[0]) * 1024 if kilobytes else 0


def _files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
