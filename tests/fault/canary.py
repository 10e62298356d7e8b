"""Runs a worker with a planted bug, to see whether the harness finds it.

`python -m tests.fault.canary NAME worker ...` is the shipped command with one thing broken.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from streams.runtime import commit, delivery
from streams.state.live import Line, LiveSegments
from tests.fault.harness import TRACES


def _drop_output() -> None:
    """Each task forgets one trace in 25."""
    real, seen = delivery.commit_cut, [0]

    def dropping(producer: Any, cut: Any, metadata: Any, *patience: Any) -> None:
        kept = []
        for record in cut.outputs:
            seen[0] += record.topic == TRACES
            if record.topic != TRACES or seen[0] % 25:
                kept.append(record)
        cut.outputs = kept
        real(producer, cut, metadata, *patience)

    delivery.commit_cut = dropping


def _repeat_output() -> None:
    """One trace in 25 is published twice."""
    real, seen = delivery.commit_cut, [0]

    def repeating(producer: Any, cut: Any, metadata: Any, *patience: Any) -> None:
        twice = []
        for record in cut.outputs:
            seen[0] += record.topic == TRACES
            if record.topic == TRACES and not seen[0] % 25:
                twice.append(record)
        cut.outputs = [*cut.outputs, *twice]
        real(producer, cut, metadata, *patience)

    delivery.commit_cut = repeating


def _offsets_first() -> None:
    """State and offsets are committed in one transaction, the outputs in a later one."""
    real, quiet = delivery.commit_cut, _quiet_commit()

    def parted(producer: Any, cut: Any, metadata: Any, *patience: Any) -> None:
        if not _has_traces(cut):
            quiet(producer, cut, metadata, *patience)
            return
        outputs = replace(cut, changelog=[], offsets={})
        cut.outputs = []
        real(producer, cut, metadata, *patience)
        quiet(producer, outputs, None, *patience)

    delivery.commit_cut = parted


def _outputs_first() -> None:
    """Outputs are committed in one transaction, state and offsets in a later one."""
    real, quiet = delivery.commit_cut, _quiet_commit()

    def parted(producer: Any, cut: Any, metadata: Any, *patience: Any) -> None:
        if not _has_traces(cut):
            quiet(producer, cut, metadata, *patience)
            return
        real(producer, replace(cut, changelog=[], offsets={}), None, *patience)
        cut.outputs = []
        quiet(producer, cut, metadata, *patience)

    delivery.commit_cut = parted


def _has_traces(cut: Any) -> bool:
    return any(record.topic == TRACES for record in cut.outputs)


def _quiet_commit() -> Callable[..., None]:
    """Return a commit that visits no crash point: a worker then dies only where it hurts."""
    real, reached, here = commit.commit_cut, commit.reached, threading.local()

    def heard(name: str, client: Any = None) -> None:
        if not getattr(here, "is_quiet", False):
            reached(name, client)

    def quiet(producer: Any, cut: Any, metadata: Any, *patience: Any) -> None:
        here.is_quiet = True
        try:
            real(producer, cut, metadata, *patience)
        finally:
            here.is_quiet = False

    commit.reached = heard
    return quiet


def _short_restore() -> None:
    """A restore forgets the newest segment."""
    real = LiveSegments.line

    def short(self: LiveSegments) -> Line:
        line = real(self)
        return Line(line.base, line.deltas[:-1]) if len(line.deltas) > (line.base is None) else line

    LiveSegments.line = short  # type: ignore[method-assign]


CANARIES: Final[dict[str, Callable[[], None]]] = {
    "drop_output": _drop_output,
    "repeat_output": _repeat_output,
    "offsets_first": _offsets_first,
    "outputs_first": _outputs_first,
    "short_restore": _short_restore,
}


def program_of(name: str) -> tuple[str, ...]:
    """Return what runs the worker with a bug, as `Deployment.worker` takes it."""
    assert name in CANARIES, name
    return ("-m", "tests.fault.canary", name)


if __name__ == "__main__":
    CANARIES[sys.argv.pop(1)]()
    from streams.cli.main import main

    main()
