"""Traces: a list, one."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import COUNT, END, START, TOKEN, Parameter
from streams.console.paths.path import STATUSES, Path, among, equal, range_of
from streams.console.personal import as_asked, kept_of
from streams.console.questions.critical import critical_path_of
from streams.console.questions.queries import Queries, Where, with_dimension
from streams.engine.link_spans import WRITER

LINK: Final = "LINK"
"""Operation of a synthetic span, as workers write it."""


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
    more = {"events_in_spans": events_in(trace), "critical_path": critical_path_of(trace)}
    return trace | more | {"revisions": revisions}


def events_in(trace: Mapping[str, Any]) -> dict[str, int]:
    """Return what the list `spans` of a trace is made of; the numbers add up to its length.

    `span_count` is of distinct spans of modules alone: besides them there are annotations (logs,
    audit entries, metrics), synthetic spans that name the other traces of a restart, and what came
    under a span id again. Events beyond the bounds of one trace (`evicted_count`) are not in it.
    """
    spans, annotations = trace["span_count"], trace["annotation_count"]
    synthetic = sum(one["operation"] == LINK and one["actor"] == WRITER for one in trace["spans"])
    repeated = len(trace["spans"]) - spans - annotations - synthetic
    return {
        "spans": spans,
        "annotations": annotations,
        "synthetic": synthetic,
        "repeated": max(0, repeated),
    }


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
        "One trace with its critical path, its revisions and all its events in `spans`: "
        "`events_in_spans` says how many of what that are.",
        (),
        _trace,
        command="trace",
    ),
)
