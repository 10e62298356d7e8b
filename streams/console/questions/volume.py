"""How much there was, over months: traces by flow, module or missing edge, and events by place.

Owns what of it comes from rows, and what from the summaries that retention left of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from streams.codec.records import decode
from streams.console.archive.summaries import SUMMARIES, quantile_us
from streams.console.questions.measures import ROWS_MAX, begin_of, step_of
from streams.console.questions.queries import SHIFT_US, Queries, Scope, Where, both, values_of
from streams.console.questions.tiers import scopes, series, summaries, told
from streams.errors import ConfigError

SHARES: Final = {"duration_p50_us": 0.5, "duration_p95_us": 0.95, "duration_p99_us": 0.99}
_NO_MISSING: Final = (
    "SELECT '' AS trace_id, 0 AS revision, '' AS module, '' AS from_stage, '' AS to_stage "
    "WHERE false"
)
Row = dict[str, Any]


class _Of(NamedTuple):
    """What series are of.

    Attributes:
        about: the columns that they differ by.
        what: the rows of a summary that count; "" for all.
        measures: columns that add up.
        kinds: that are read.
    """

    about: tuple[str, ...]
    what: str
    measures: tuple[str, ...]
    kinds: tuple[str, ...]


_OF: Final = {
    "flow": _Of(("flow", "status"), "trace", ("count", "spans", "errors"), ("traces",)),
    "module": _Of(("flow", "module", "status"), "module", ("count",), ("traces",)),
    "edge": _Of(("flow", "module", "from_stage", "to_stage"), "missing", ("count",), ("traces",)),
    "component": _Of(("module", "component"), "", ("count", "errors", "duration_us"), ("spans",)),
    "event": _Of(
        ("module", "component", "event_type", "severity"),
        "event",
        ("count", "errors"),
        ("spans", "events"),
    ),
}
BYS: Final = tuple(_OF)


class Asked(NamedTuple):
    """A question: [start, end) in us, the step's length, and values that columns must have."""

    start_us: int
    end_us: int
    step_us: int
    equal: Mapping[str, str]


def volume(
    queries: Queries,
    start_us: int,
    end_us: int,
    by: str,
    equal: Mapping[str, str],
    step_s: int | None,
) -> dict[str, Any]:
    """Return series of how much there was within [start, end), a point a step.

    Args:
        queries: the archive.
        start_us: the begin of the range, in us.
        end_us: its end.
        by: what series are of, one of `BYS`; `edge` counts spans that never came.
        equal: values of columns that series differ by.
        step_s: length of a step; None for as many as give 120 points.

    Raises:
        ConfigError: there would be too many points, or series do not differ by a column.
    """
    of = _OF[by]
    for name in equal:
        if name not in of.about:
            raise ConfigError(f"{name}: series by {by} do not differ by it")
    asked = Asked(start_us, end_us, step_of(start_us, end_us, step_s), equal)
    rows = [row for kind in of.kinds for row in _summed(queries, kind, of, asked)]
    if by == "edge":
        rows += _missing(queries, of, asked)
    is_cut = len(rows) > ROWS_MAX
    points = _points(rows[:ROWS_MAX], of, is_timed=by == "flow")
    return {
        "step_us": asked.step_us,
        "series": series(points, of.about),
        "tiers": told((row["tier"], row["at"], asked.step_us) for row in rows),
        "is_cut": is_cut,
    }


def _summed(queries: Queries, kind: str, of: _Of, asked: Asked) -> list[Row]:
    """Return counts by tier, step, series and bucket of durations."""
    summary = SUMMARIES[kind]
    what = [Where("what = ?", (of.what,))] if "what" in summary.keys else []
    equal = [Where(f"{name} = ?", (value,)) for name, value in asked.equal.items()]
    where = [Where('"at" >= ? AND "at" < ?', (asked.start_us, asked.end_us)), *what, *equal]
    found = scopes(kind, asked.start_us, asked.end_us)
    parts = f"SELECT * FROM ({summaries(kind)})"
    if of.what != "missing":  # of rows, these are told by their bytes alone
        order = "revision DESC" if summary.newest else "timestamp"
        newest = f"row_number() OVER (PARTITION BY {', '.join(summary.of)} ORDER BY {order}) = 1"
        one = f"SELECT {', '.join(summary.columns)} FROM {kind} QUALIFY {newest}"
        parts += (
            f" UNION ALL BY NAME SELECT *, 0 AS tier FROM (WITH one AS ({one}), "
            f"missing AS ({_NO_MISSING}) {summary.sql})"
        )
        found[kind] = _around(asked)
    bucket = "bucket" if "bucket" in summary.keys else "0 AS bucket"
    measures = ", ".join(f'sum("{name}")::BIGINT AS "{name}"' for name in of.measures)
    return queries.ask(
        f"SELECT {begin_of('at')}, {', '.join(of.about)}, {bucket}, tier, {measures} "
        f"FROM ({parts}) WHERE {both(where)} GROUP BY ALL ORDER BY ALL LIMIT ?",
        (asked.start_us, asked.step_us, *values_of(where), ROWS_MAX + 1),
        found,
    )


def _around(asked: Asked) -> Scope:
    """Return where all revisions of the traces of a range lie."""
    return Scope((asked.start_us - SHIFT_US, asked.end_us + SHIFT_US))


def _missing(queries: Queries, of: _Of, asked: Asked) -> Iterator[Row]:
    """Yield what the traces lack of which there are rows."""
    newest = "row_number() OVER (PARTITION BY trace_id ORDER BY revision DESC) = 1"
    rows = queries.ask(
        'SELECT start AS "at", value FROM '
        f"(SELECT start, value, missing_stages FROM traces QUALIFY {newest}) "
        "WHERE start >= ? AND start < ? AND len(missing_stages) > 0 LIMIT ?",
        (asked.start_us, asked.end_us, ROWS_MAX + 1),
        {"traces": _around(asked)},
    )
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        trace = decode(row["value"])
        at = row["at"] - (row["at"] - asked.start_us) % asked.step_us
        for span in trace["missing"]:
            about = span | {"flow": trace["flow"]}
            if all(about[name] == value for name, value in asked.equal.items()):
                found[at, *(about[name] for name in of.about)] += 1
    for (at, *about), count in found.items():
        given = dict(zip(of.about, about, strict=True))
        yield {"at": at, "bucket": 0, "tier": 0, "count": count} | given


def _points(rows: Iterable[Row], of: _Of, *, is_timed: bool) -> list[Row]:
    """Return rows of tiers and buckets as points, sorted by series and time."""
    sums: dict[tuple[Any, ...], Counter[str]] = {}
    buckets: dict[tuple[Any, ...], Counter[int]] = {}
    for row in rows:
        key = (*(row[name] for name in of.about), row["at"])
        sums.setdefault(key, Counter()).update({name: row[name] for name in of.measures})
        buckets.setdefault(key, Counter())[row["bucket"]] += row["count"]
    found = []
    for key in sorted(sums):
        point = dict(zip((*of.about, "at"), key, strict=True))
        point |= {name: sums[key][name] for name in of.measures}
        if is_timed:
            point |= {name: quantile_us(buckets[key], share) for name, share in SHARES.items()}
        found.append(point)
    return found
