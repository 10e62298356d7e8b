"""What the console knows of itself and of who asks: the lag, and me."""

from collections.abc import Callable, Mapping
from typing import Any

from streams.console.paths.path import Path
from streams.console.questions.queries import Queries
from streams.runtime.reading import Place
from streams.serving.roles import GRANTS, ROLES, Actor

Lags = Callable[[], Mapping[Place, tuple[int, int]]]
"""Returns the next offset and the end of each partition that is read."""


def paths(lags: Lags) -> tuple[Path, ...]:
    """Return the paths.

    Args:
        lags: how far reading is.
    """

    def lag(_: Queries, __: dict[str, Any], ___: Mapping[str, str]) -> Any:
        rows = [
            {
                "topic": topic,
                "partition": partition,
                "next_offset": next_,
                "end_offset": end,
                "lag_records": max(0, end - next_),
            }
            for (topic, partition), (next_, end) in sorted(lags().items())
        ]
        return {"lag_records": sum(row["lag_records"] for row in rows), "partitions": rows}

    def me(_: Queries, asked: dict[str, Any], __: Mapping[str, str]) -> Any:
        actor: Actor = asked["actor"]
        granted = frozenset[str]().union(*(GRANTS[role] for role in actor.roles))
        return {
            "actor": actor.name,
            "roles": [role for role in ROLES if role in actor.roles],
            "may": [role for role in ROLES if role in granted],
            "login": actor.how,
        }

    return (
        Path("/api/v1/lag", "How far the archive is behind the topics, by partition.", (), lag),
        Path("/api/v1/me", "Who asks, and what they may.", (), me),
    )
