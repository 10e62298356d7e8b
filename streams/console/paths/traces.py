"""Traces: a list, one."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import COUNT, END, START, TOKEN, Parameter
from streams.console.paths.path import STATUSES, Path, among, equal, range_of
from streams.console.personal import as_asked, kept_of
from streams.console.questions.critical import critical_path_of
from streams.console.questions.queries import Queries, Where, with_dimension


def _traces(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    kept = kept_of(asked)
    where = [
        *equal(asked, "flow", "status"),
        *among(asked, as_asked, module="modules", missing_stage="missing_stages"),
        *among(asked, kept, batch_id="batch_ids", correlation_id="correlation_ids"),
    ]
    if asked["min_duration_us"] is not None:
        where.append(Where("duration_us >= ?", (asked["min_duration_us"],)))
    if asked["dimension"] is not None:
        text, values, _kinds = with_dimension(asked["dimension"], kept)
        of_a_span = f"trace_id IN (SELECT trace_id FROM spans WHERE {text})"
        where.append(Where(of_a_span, values, ("spans",)))
    start_us, end_us = range_of(asked)
    token = asked["continuation_token"] or ""
    page = queries.traces(start_us, end_us, where, asked["limit"], token)
    return {"traces": page.rows, "continuation_token": page.continuation_token}


def _trace(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    found = queries.trace(path["trace_id"].lower())
    if found is None:
        return None
    trace, revisions = found
    return trace | {"critical_path": critical_path_of(trace), "revisions": revisions}


PATHS: Final = (
    Path(
        "/api/v1/traces",
        "Traces that start within a range, the newest first.",
        (
            START,
            END,
            Parameter("flow", "text", "Of this flow."),
            Parameter("module", "text", "With an event of this module."),
            Parameter("status", "word", "Of this status.", STATUSES),
            Parameter("missing_stage", "text", "That lack this stage."),
            Parameter("batch_id", "text", "With an event of this batch."),
            Parameter("correlation_id", "text", "With an event of this correlation id."),
            Parameter("min_duration_us", "number", "That took so long at least."),
            Parameter("dimension", "text", "With a span that has it: name=value."),
            COUNT,
            TOKEN,
        ),
        _traces,
        table="traces",
        command="traces",
    ),
    Path(
        "/api/v1/traces/{trace_id}",
        "One trace with its spans, critical path and revisions.",
        (),
        _trace,
        command="trace",
    ),
)
