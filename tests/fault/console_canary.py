"""Runs a console with a planted bug, to see whether the comparison of its archive finds it.

`python -m tests.fault.console_canary NAME console ...` is the shipped command with one thing
broken. Each bug needs a kill: it is in a console that finds files of an earlier one.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from streams.console.archive.archive import Archive
from streams.console.archive.files import At, Segment
from streams.console.archive.kinds import Kind
from streams.console.archive.store import Store
from streams.runtime.reading import Place

SKIPPED_RECORDS: Final = 20
Change = Callable[[Kind, Segment, pa.Table], pa.Table]


def _skip_after_kill() -> None:
    """What lay in memory alone is taken for written: reading goes on behind it."""
    real = Archive.starts

    def too_far(self: Archive, held: Mapping[Place, tuple[int, int]]) -> dict[Place, int]:
        had = self.next_offsets
        starts = real(self, held)
        return {
            at: min(start + SKIPPED_RECORDS, held[at][1]) if at in had else start
            for at, start in starts.items()
        }

    Archive.starts = too_far  # type: ignore[method-assign]


def _twice_after_kill() -> None:
    """The first batch of each partition is in its file twice."""
    written: set[At] = set()

    def doubled(_kind: Kind, one: Segment, table: pa.Table) -> pa.Table:
        if not len(table) or one.at in written:
            return table
        written.add(one.at)
        return pa.concat_tables([table, table])

    _change_files(doubled)


def _old_revision_after_kill() -> None:
    """A trace that is published again keeps the revision that it had."""

    def stayed(kind: Kind, _one: Segment, table: pa.Table) -> pa.Table:
        if kind.name != "traces":
            return table
        revision = table["revision"]
        old = pc.if_else(pc.greater(revision, 1), pc.subtract(revision, 1), revision)
        return table.set_column(table.schema.get_field_index("revision"), "revision", old)

    _change_files(stayed)


def _change_files(change: Change) -> None:
    """Let a console that finds files write others than it should."""
    real, found = Archive.__init__, [False]
    write = Store.write

    def heeding(self: Archive, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        found[0] = bool(self.next_offsets)

    def changed(self: Store, kind: Kind, one: Segment, table: pa.Table, *given: Any) -> int:
        return write(self, kind, one, change(kind, one, table) if found[0] else table, *given)

    Archive.__init__ = heeding  # type: ignore[method-assign]
    Store.write = changed  # type: ignore[assignment,method-assign]


CONSOLE_CANARIES: Final[dict[str, Callable[[], None]]] = {
    "skip_after_kill": _skip_after_kill,
    "twice_after_kill": _twice_after_kill,
    "old_revision_after_kill": _old_revision_after_kill,
}


def console_program_of(name: str) -> tuple[str, ...]:
    """Return what runs the console with a bug, as `ConsoleAt` takes it."""
    assert name in CONSOLE_CANARIES, name
    return ("-m", "tests.fault.console_canary", name)


if __name__ == "__main__":
    CONSOLE_CANARIES[sys.argv.pop(1)]()
    from streams.cli.main import main

    main()
