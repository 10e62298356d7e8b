"""The merged windows as JSON-able data and back.

Owns the layout of that state. Invariant: restored windows answer every question as the ones that
were saved; sums and merged counts are computed anew, so a snapshot cannot disagree with itself.
"""

from collections.abc import Mapping
from typing import Any

from streams.core.fidelity.merge import MergedWindows, OpenWindow, Part, Sample
from streams.core.fidelity.rolling import Counts, Scope, change


def snapshot_windows(windows: MergedWindows) -> dict[str, Any]:
    """Return the windows as JSON-able data; names are written once and then given by number.

    Corrections must have been published (`take_dirty`) before.
    """
    assert not windows.dirty, "publish corrections before a snapshot"
    number: dict[Scope, int] = {}
    counter: dict[str, int] = {}

    def counted(counts: Mapping[Scope, Counts]) -> list[list[int]]:
        """Return a flat row for each scope: its number, then counter numbers and counts."""
        rows = []
        for scope, of_scope in counts.items():
            row = [number.setdefault(scope, len(number))]
            for name, n in of_scope.items():
                row += (counter.setdefault(name, len(counter)), n)
            rows.append(row)
        return rows

    held = [
        [
            start_us,
            window.pending_since_us,
            [
                [
                    *origin,
                    part.sequence,
                    part.watermark_us,
                    counted(part.scopes),
                    [
                        [number.setdefault(s, len(number)), [list(sample) for sample in samples]]
                        for s, samples in part.samples.items()
                    ],
                ]
                for origin, part in window.parts.items()
            ],
        ]
        for start_us, window in windows.windows.items()
    ]
    sealed = [[start_us, counted(counts)] for start_us, counts in windows.sealed.items()]
    return {
        **windows.header(),
        "open": held,
        "sealed": sealed,
        "scopes": [list(scope) for scope in number],
        "counters": list(counter),
    }


def restore_windows(windows: MergedWindows, snapshot: Mapping[str, Any]) -> None:
    """Take over what `snapshot_windows` returned, into windows that have seen nothing yet.

    Raises:
        StateError: the snapshot's windows are of another width than the settings say.
    """
    windows.restore_header(snapshot, "fidelity")
    scopes = [Scope(*row) for row in snapshot["scopes"]]
    counters: list[str] = snapshot["counters"]

    def counts_of(rows: list[list[int]]) -> dict[Scope, Counts]:
        return {
            scopes[row[0]]: {counters[c]: n for c, n in zip(row[1::2], row[2::2], strict=True)}
            for row in rows
        }

    for start_us, pending_since_us, parts in snapshot["open"]:
        window = windows.windows[start_us] = OpenWindow(pending_since_us=pending_since_us)
        for partition, contract, sequence, watermark_us, counted, samples in parts:
            counts = counts_of(counted)
            window.parts[partition, contract] = Part(
                sequence,
                watermark_us,
                counts,
                {scopes[n]: [Sample(*sample) for sample in rows] for n, rows in samples},
            )
            for scope, of_scope in counts.items():
                change(window.counts, scope, of_scope, keep_empty=True)
    for start_us, counted in snapshot["sealed"]:
        windows.sealed[start_us] = counts_of(counted)
    if windows.ended_us is not None:
        windows.rebuild_sums()
