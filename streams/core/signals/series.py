"""Series: what a metric point or a log line counts for, and the integers that stand for it.

Owns the identity of a series. Invariant: equal names give equal series, whatever event they came
by; a series is as long as its bounds allow, however long the event's texts were.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

from streams.units import I64

METRIC, LOG, REJECTED, STAGE = "METRIC", "LOG", "REJECTED", "STAGE"
"""What a series counts: metric points, log lines of one template, rejected events of one reason,
and the spans of one stage."""

NO_SIGNAL: Final = -1
"""Code of an event that is neither a metric point nor a log line."""
OVER_BOUND: Final = -2
"""Code of a metric point or a log line whose series is beyond the bound."""

TEXT_MAX: Final = 200
"""Characters of a name; of longer ones only so many tell series apart."""
VALUE_MAX: Final = 64
"""Characters of a dimension's value, likewise."""

DIMENSIONS: Final = (
    "source_system",
    "enrichment_source",
    "destination",
    "target",
    "format",
    "tier",
    "ack_pattern",
    "error_category",
    "model_version",
    "feature_set",
    "queue",
    "circuit",
    "instance",
    "hop",
    "from",
    "to",
    "job_kind",
    "priority",
    "outcome",
    "purpose",
    "quality_dimension",
)
"""Dimensions that tell series apart where the settings name no others: each has few values. Ids of
requests, jobs or attempts would make a series of every event."""

Dimensions = tuple[tuple[str, str], ...]


class Series(NamedTuple):
    """The identity of a series.

    Attributes:
        kind: METRIC, LOG, REJECTED or STAGE.
        module, component: who says it; of a rejected event the module and the topic.
        name: of the metric; a log line's template; the reason; `flow/stage`.
        unit: of a metric's values.
        severity: of a log line.
        dimensions: (key, value), by key; keys without a value are left out.
    """

    kind: str
    module: str
    component: str
    name: str
    unit: str = ""
    severity: str = ""
    dimensions: Dimensions = ()

    @property
    def text(self) -> str:
        """Write the series for people: `name{key=value, ...}`."""
        inside = ", ".join(f"{key}={value}" for key, value in self.dimensions)
        return f"{self.name}{{{inside}}}" if inside else self.name

    def label(self, name: str) -> str:
        """Return the value of one name: a field, or a dimension; "" without one."""
        if name in ("kind", "module", "component", "name", "unit", "severity"):
            return str(getattr(self, name))
        return dict(self.dimensions).get(name, "")

    @classmethod
    def read(cls, row: Sequence[Any]) -> Self:
        """Return the series that its fields as JSON values say."""
        kind, module, component, name, unit, severity, dimensions = row
        kept = tuple((str(key), str(value)) for key, value in dimensions)
        return cls(kind, module, component, name, unit, severity, kept)


class SeriesBook:
    """Interns series into small integers; codes are stable for the life of the object.

    At most `limit` different series are kept: dimensions whose values never end must not eat the
    memory. Further ones share the code `OVER_BOUND`.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._code: dict[Series, int] = {}
        self._all: list[Series] = []
        self._limit = limit

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, code: int) -> Series:
        return self._all[code]

    def code(self, series: Series) -> int:
        """Return the code of a series, giving it one when it is new; `OVER_BOUND` beyond it."""
        known = self._code.get(series)
        if known is not None:
            return known
        if len(self._all) >= self._limit:
            return OVER_BOUND
        self._code[series] = len(self._all)
        self._all.append(series)
        return len(self._all) - 1

    def of(self, codes: I64) -> list[Series]:
        """Return the series of (n,) codes from 0 on."""
        return [self._all[code] for code in codes.tolist()]
