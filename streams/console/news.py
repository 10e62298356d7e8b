"""What viewers are told: fidelity, incidents and the pipeline's health, made of the archive.

Owns what goes into an event, and when the archive is asked for it: when a record came since, or,
for health, which time alone makes worse, every few seconds.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from streams.console.api import shaped
from streams.console.archive.archive import Archive
from streams.console.live import Source
from streams.console.questions.pipeline_health import NO_PROMISE, Promise, pipeline_health
from streams.console.questions.queries import OPEN, Queries
from streams.console.questions.recent import recent_fidelity
from streams.runtime import topics
from streams.runtime.clock import wall_us

OPEN_MAX: Final = 200
RECENT_MAX: Final = 30
HEALTH_SECONDS: Final = 10.0
"""It looks back over a quarter of an hour: it costs more than other news, and changes slower."""


def _incidents(queries: Queries) -> dict[str, Any]:
    there = queries.incidents([OPEN], OPEN_MAX, "")
    return {
        "open": there.rows,
        "is_more": bool(there.continuation_token),
        "recent": queries.incidents([], RECENT_MAX, "").rows,
    }


def sources(archive: Archive, queries: Queries, promise: Promise = NO_PROMISE) -> list[Source]:
    """Return what is to be told.

    Args:
        archive: what news come from.
        queries: ask it.
        promise: what the contract says of health.
    """

    def reached(topic: str) -> Callable[[], Hashable]:
        names = [
            name
            for name, kinds in archive.kinds.items()
            if any(kind.topic == topic for kind in kinds)
        ]
        return lambda: _reached(archive.next_offsets, names)

    def fidelity() -> Any:
        now_us = wall_us()
        return shaped(recent_fidelity(queries, now_us))

    def health() -> Any:
        return shaped(pipeline_health(queries, promise, wall_us()))

    return [
        Source("fidelity", reached(topics.STATS), fidelity),
        Source("incidents", reached(topics.INCIDENTS), lambda: shaped(_incidents(queries))),
        Source("pipeline", lambda: time.monotonic() // HEALTH_SECONDS, health),
    ]


def _reached(offsets: Mapping[tuple[str, int], int], names: list[str]) -> Hashable:
    return tuple(sorted((at, offset) for at, offset in offsets.items() if at[0] in names))
