"""How many spans each stage had, as series: what flows through the pipeline, for what may stop it.

Owns the way from the counts of closed traces to series. Invariant: nothing is counted a second
time; the counts are those of the fidelity partials.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from streams.core.signals.cell import events_cell
from streams.core.signals.counts import row_of
from streams.core.signals.series import STAGE, Series


def stage_series(module: str, flow: str, stage: str) -> Series:
    """Return the series of a stage's spans."""
    return Series(STAGE, module, "", f"{flow}/{stage}")


def stage_partials(
    partials: Iterable[Mapping[str, Any]], watermark_us: int
) -> Iterator[dict[str, Any]]:
    """Yield a record of SignalPartial for each fidelity partial that counts spans of stages.

    Args:
        partials: records in the shape of schemas/fidelity_partial.v1.avsc.
        watermark_us: of the signals.
    """
    for partial in partials:
        start_us = partial["window_start"]
        rows = [
            row_of(
                stage_series(scope["module"], scope["flow"], scope["to_stage"]),
                events_cell(scope["counters"].get("spans", 0), start_us),
            )
            for scope in partial["scopes"]
            if scope["kind"] == "stage" and scope["flow"]
        ]
        if rows:
            yield {
                "window_start": start_us,
                "window_us": partial["window_us"],
                "watermark": watermark_us,
                "series": rows,
            }
