"""Where the threads and coroutines of this process stand, in words for a log.

A worker that ends because nothing went on any more says it with its last breath: what it waited
for is not to be seen afterwards.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Final

FRAMES_MAX: Final = 12
"""Innermost frames of each: who called the outermost ones is always the same."""
STACKS_MAX: Final = 200
"""Of each kind; a server may have a thousand connections, and all wait in the same place."""


def of_threads() -> dict[str, list[str]]:
    """Return by thread name where it stands, outermost frame first."""
    frames = sys._current_frames()
    found: dict[str, list[str]] = {}
    for thread in threading.enumerate()[:STACKS_MAX]:
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            found[f"{thread.name} {thread.ident}"] = _lines(_walk(frame))
    return found


def of_main_thread() -> str:
    """Return where the main thread stands, innermost frame first, in one line."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return " < ".join(_lines(_walk(frame))[:-4:-1]) if frame is not None else "an unknown place"


def of_coroutines() -> dict[str, list[str]]:
    """Return by task name where each coroutine of the running loop waits, outermost first.

    Outside of a loop there are none.
    """
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return {}
    found = {}
    for task in sorted(tasks, key=asyncio.Task.get_name)[:STACKS_MAX]:
        coroutine = task.get_coro()
        name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        found[f"{task.get_name()} {name}"] = _awaited(coroutine)
    return found


def _walk(frame: FrameType) -> list[tuple[FrameType, int]]:
    return list(traceback.walk_stack(frame))[:FRAMES_MAX][::-1]


def _awaited(coroutine: object) -> list[str]:
    """Follow what a coroutine awaits; a task's own stack shows its outermost frame alone."""
    frames: list[tuple[FrameType, int]] = []
    inner: object | None = coroutine
    while inner is not None:
        frame = _first(inner, "cr_frame", "gi_frame", "ag_frame")
        if isinstance(frame, FrameType):
            frames.append((frame, frame.f_lineno))
        inner = _first(inner, "cr_await", "gi_yieldfrom", "ag_await")
    return _lines(frames[-FRAMES_MAX:])


def _first(of: object, *names: str) -> object | None:
    """Return the first attribute that is there: coroutines and generators name theirs apart."""
    found = (getattr(of, name, None) for name in names)
    return next((one for one in found if one is not None), None)


def _lines(frames: Iterable[tuple[FrameType, int]]) -> list[str]:
    return [
        f"{code.co_filename.rpartition('site-packages/')[2]}:{line} {code.co_qualname}"
        for code, line in ((frame.f_code, line) for frame, line in frames)
    ]
