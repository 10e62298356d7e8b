"""Whatever a recording holds: each row is read or refused, and what is read can be sent."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.codec.recorded.account import Account, RecordedTrace
from streams.codec.recorded.jaeger import jaeger_traces
from streams.codec.recorded.summary import trace_summary
from streams.codec.recorded.to_jaeger import jaeger_trace
from streams.codec.recorded.zipkin import zipkin_traces
from streams.codec.records import decode, encode
from streams.errors import ConfigError
from tests.unit.codec.recorded.test_jaeger import export
from tests.unit.codec.recorded.test_jaeger import span as jaeger_span
from tests.unit.codec.recorded.test_zipkin import span as zipkin_span

Reader = Callable[[Path, Account], Iterator[RecordedTrace]]
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "a", "0", "error", "span.kind", "CHILD_OF", "1" * 40, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["key", "type", "value", "traceID", "spanID", "refType", "timestamp",
                         "fields", "serviceName", "tags", "x"]),
        inner,
        max_size=4,
    ),
    max_leaves=6,
)  # fmt: skip


def changed(row: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return rows with some fields replaced by anything, and things that are no rows."""
    more = ("flags", "process", "parentSpanID", "shared", "annotations", "remoteEndpoint")
    fields = st.dictionaries(st.sampled_from([*row, *more]), ANY, max_size=3)
    return fields.map(lambda other: {**row, **other}) | ANY


def check(path: Path, reader: Reader, content: Any) -> None:
    path.write_text(json.dumps(content))
    account = Account()
    try:
        traces = list(reader(path, account))
    except ConfigError:
        return  # the whole file is none
    for trace in traces:
        for event in trace.events:
            assert repr(decode(encode("telemetry_event", event))) == repr(event)
        trace_summary(trace)
        jaeger_trace({"trace_id": trace.trace_id, "spans": trace.events, "missing": []})
    assert sum(len(trace.events) for trace in traces) <= account.rows
    events = sum(len(t.events) for t in traces)
    assert account.rows <= events + account.merged + account.refused.total()


def one_zipkin_file(path: Path, account: Account) -> Iterator[RecordedTrace]:
    return zipkin_traces([path], account)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "any.json"


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(changed(jaeger_span()), min_size=1, max_size=3))
def test_any_jaeger_span_is_read_or_refused(file: Path, rows: list[Any]) -> None:
    """Fields of every type, in every place."""
    check(file, jaeger_traces, export(*rows))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(changed(zipkin_span()), min_size=1, max_size=3))
def test_any_zipkin_span_is_read_or_refused(file: Path, rows: list[Any]) -> None:
    """The same; ids repeat, so sides are told apart, too."""
    check(file, one_zipkin_file, rows)


@settings(max_examples=20)
@given(content=ANY, is_jaeger=st.booleans())
def test_any_json_is_read_or_refused(file: Path, content: Any, is_jaeger: bool) -> None:
    """Files that are something else altogether, beneath the keys of an export."""
    check(file, jaeger_traces if is_jaeger else one_zipkin_file, {"data": content})
    check(file, jaeger_traces if is_jaeger else one_zipkin_file, content)
    check(file, jaeger_traces, {"data": [{"spans": content, "processes": content}]})
