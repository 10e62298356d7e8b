"""All paths of the interface."""

from typing import Final

from streams.console.paths.audit import PATHS as AUDIT
from streams.console.paths.fidelity import PATHS as FIDELITY
from streams.console.paths.incidents import PATHS as INCIDENTS
from streams.console.paths.metrics import PATHS as METRICS
from streams.console.paths.path import Path
from streams.console.paths.records import PATHS as RECORDS
from streams.console.paths.traces import PATHS as TRACES
from streams.console.paths.volume import PATHS as VOLUME

PATHS: Final[tuple[Path, ...]] = (
    *TRACES,
    *RECORDS,
    *FIDELITY,
    *INCIDENTS,
    *AUDIT,
    *METRICS,
    *VOLUME,
)
