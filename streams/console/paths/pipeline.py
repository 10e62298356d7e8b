"""The health of the pipeline that is watched; that of the console itself is `/api/v1/health`."""

from collections.abc import Mapping
from typing import Any

from streams.console.paths.path import Path
from streams.console.questions.pipeline_health import NO_PROMISE, Promise, pipeline_health
from streams.console.questions.queries import Queries
from streams.runtime.clock import wall_us


def pipeline_paths(promise: Promise = NO_PROMISE) -> tuple[Path, ...]:
    """Return the path that tells of the pipeline's health.

    Args:
        promise: what the contract says of it.
    """

    def ask(queries: Queries, _: dict[str, Any], __: Mapping[str, str]) -> Any:
        return pipeline_health(queries, promise, wall_us())

    about = (
        "The pipeline's health: overall, by module and component, what modules owe each other, "
        "what will be bad soon, and whose trouble is somebody else's."
    )
    return (Path("/api/v1/pipeline/health", about, (), ask, command="health"),)
