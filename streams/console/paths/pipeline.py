"""The health of the pipeline that is watched; that of the console itself is `/api/v1/health`."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from streams.console.paths.path import Path
from streams.console.questions.pipeline_health import NO_PROMISE, Promise, pipeline_health
from streams.console.questions.queries import Queries


def _now_us() -> int:
    return time.time_ns() // 1_000


def pipeline_paths(
    promise: Promise = NO_PROMISE, now_us: Callable[[], int] = _now_us
) -> tuple[Path, ...]:
    """Return the path that tells of the pipeline's health.

    Args:
        promise: what the contract says of it.
        now_us: wall time.
    """

    def ask(queries: Queries, _: dict[str, Any], __: Mapping[str, str]) -> Any:
        return pipeline_health(queries, promise, now_us())

    about = (
        "The pipeline's health: overall, by module and component, what modules owe each other, "
        "what will be bad soon, and whose trouble is somebody else's."
    )
    return (Path("/api/v1/pipeline/health", about, (), ask, command="health"),)
