"""What must come out, worked out from the input topics alone by slow, obvious code.

Reads the telemetry records as they lie on the broker, one by one, with dictionaries. It knows
nothing of what the feed meant to send, and shares neither the decoder, nor the join, nor the judge,
nor the counters with the engine: only the contract's compiled fields.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from streams.codec.records import decode
from streams.contract.compile import compile_plan
from streams.contract.loader import load_contract
from streams.core.columns import Operation
from streams.core.fidelity.plan import Plan
from streams.errors import RecordError
from tests.fault.harness import Event, Message, read_committed
from tests.oracle_judge import OracleSpan, Verdict, judge_trace

WINDOW_US: Final = 10_000_000
YEAR_2200_US: Final = 7_258_118_400_000_000
TEN_YEARS_US: Final = 10 * 365 * 86_400 * 1_000_000
HEX: Final = set("0123456789abcdef")

Identity = tuple[bool, str]
"""(is a span, span id or event id): two events of a trace with one identity are one event."""
Scope = tuple[str, str, str, str, str]
"""kind, flow, from_stage, to_stage, module."""
MissingRow = tuple[str, str, str, str, str, str]
"""span id, module, component, name, from_stage, to_stage."""


class Trace(NamedTuple):
    """What the highest revision of a trace must be."""

    identities: frozenset[Identity]
    flow: str
    status: str
    missing: tuple[MissingRow, ...]


@dataclass
class Truth:
    """What must come out of some input.

    Attributes:
        accounting: accepted and each outcome, once all is closed.
        rejected: reason by (topic, partition, offset).
        events: events of each trace, one for each identity.
        module_events, module_untraced: good records, repeats included, by window and module.
    """

    plan: Plan
    accounting: Counter[str] = field(default_factory=Counter)
    rejected: dict[tuple[str, int, int], str] = field(default_factory=dict)
    events: dict[str, dict[Identity, Event]] = field(default_factory=dict)
    module_events: Counter[tuple[int, str]] = field(default_factory=Counter)
    module_untraced: Counter[tuple[int, str]] = field(default_factory=Counter)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The slow judge's word on each trace."""
        found = {}
        for trace_id, mine in self.events.items():
            spans = [_span(event) for (is_span, _), event in mine.items() if is_span]
            found[trace_id] = judge_trace(spans, self.plan)
        return found

    @cached_property
    def traces(self) -> dict[str, Trace]:
        """What the highest revision of each trace must be."""
        return {
            trace_id: Trace(
                frozenset(self.events[trace_id]),
                self.plan.flows[verdict.flow].name if verdict.flow >= 0 else "",
                verdict.status,
                tuple(sorted(_missing_row(*row[:4]) for row in verdict.missing)),
            )
            for trace_id, verdict in self.verdicts.items()
        }

    @cached_property
    def spans(self) -> int:
        """How many different events of traces there are."""
        return sum(map(len, self.events.values()))

    @cached_property
    def windows(self) -> dict[int, dict[Scope, tuple[int, int]]]:
        """Two counts by window start and scope.

        (expected, observed) of flows, edges and in total; (events, untraced) of modules.
        """
        found: dict[int, dict[Scope, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for trace_id, verdict in self.verdicts.items():
            if verdict.flow < 0:
                continue
            start_us = min(e["timestamp"] for e in self.events[trace_id].values())
            window = found[start_us // WINDOW_US * WINDOW_US]
            for scope, observed in self._crossings(verdict):
                if not verdict.is_sampled_out:
                    window[scope][0] += 1
                    window[scope][1] += observed
        for (start_us, module), events in self.module_events.items():
            untraced = self.module_untraced[start_us, module]
            found[start_us]["module", "", "", "", module] = [events, untraced]
        return {
            start_us: {scope: (n[0], n[1]) for scope, n in window.items()}
            for start_us, window in found.items()
        }

    def _crossings(self, verdict: Verdict) -> Iterable[tuple[Scope, bool]]:
        flow = self.plan.flows[verdict.flow]
        yield ("total", "", "", "", ""), verdict.has_all_required
        yield ("flow", flow.name, "", "", ""), verdict.has_all_required
        for edge, is_observed, _, _, _ in verdict.edges:
            near, far = flow.edges[edge].tolist()
            module = self.plan.stage_operation[int(flow.stage_code[far])].module
            yield ("edge", flow.name, flow.stage_id[near], flow.stage_id[far], module), is_observed


def read_truth(broker: str, topics: Iterable[str], ancient_before_us: int) -> Truth:
    """Read the input topics and return what must come out of them.

    Args:
        broker: bootstrap address.
        topics: all topics that the join reads.
        ancient_before_us: a trace whose events are all older than this came too late for any
            trace; the run leaves a gap of days between such events and all others.
    """
    return truth_of(
        (message for topic in topics for message in read_committed(broker, topic)),
        ancient_before_us,
    )


def truth_of(messages: Iterable[Message], ancient_before_us: int) -> Truth:
    """Return what must come out of some records."""
    truth = Truth(compile_plan(load_contract("seed")))
    for message in messages:
        truth.accounting["accepted"] += 1
        event, reason = read_event(message.value)
        if event is None:
            truth.accounting["rejected"] += 1
            truth.rejected[message.topic, message.partition, message.offset] = reason
            continue
        window = event["timestamp"] // WINDOW_US * WINDOW_US
        truth.module_events[window, event["module"]] += 1
        if not event["trace_id"]:
            truth.accounting["untraced"] += 1
            truth.module_untraced[window, event["module"]] += 1
        elif event["timestamp"] < ancient_before_us:
            truth.accounting["late"] += 1
        else:
            _join(truth, event)
    return truth


def _join(truth: Truth, event: Event) -> None:
    mine = truth.events.setdefault(event["trace_id"], {})
    identity = identity_of(event)
    if identity in mine:
        truth.accounting["duplicate"] += 1
    else:
        mine[identity] = event
        truth.accounting["joined"] += 1


def identity_of(event: Event) -> Identity:
    """Return what makes an event itself within its trace."""
    is_span = event["event_type"] == "TRACE"
    return is_span, event["span_id"] if is_span else event["event_id"]


def read_event(value: bytes | None) -> tuple[Event | None, str]:
    """Return the event that a value holds, else None and why it is none."""
    try:
        event = decode(value)
    except RecordError as error:
        return None, error.reason
    reason = _fault(event)
    return (None, reason) if reason else (event, "")


def _fault(event: Event) -> str:
    """Return the first rule of docs/semantics.md that an event breaks, "" for none."""
    is_span = event["event_type"] == "TRACE"
    trace_id, parent = event["trace_id"], event["parent_span_id"]
    if trace_id and not _is_id(trace_id, 32):
        return "invalid_trace_id"
    if is_span and not trace_id:
        return "missing_trace_id"
    if is_span and not _is_id(event["span_id"], 16):
        return "invalid_span_id"
    if is_span and parent and parent != "0" * 16 and not _is_id(parent, 16):
        return "invalid_parent_span_id"
    if not is_span and trace_id and not _is_uuid(event["event_id"]):
        return "invalid_event_id"
    if not 0 < event["timestamp"] <= YEAR_2200_US:
        return "invalid_timestamp"
    if not 0 <= event["duration_us"] <= TEN_YEARS_US:
        return "invalid_duration"
    if not 0 <= event["trace_flags"] <= 255:
        return "invalid_trace_flags"
    if not event["module"]:
        return "missing_module"
    return "" if event["name"] else "missing_name"


def _is_id(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= HEX and set(text) != {"0"}


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _span(event: Event) -> OracleSpan:
    parent = event["parent_span_id"]
    return OracleSpan(
        span_id=int(event["span_id"], 16),
        parent_id=int(parent, 16) if parent else 0,
        start_us=event["timestamp"],
        duration_us=event["duration_us"],
        operation=Operation(event["module"], event["component"], event["name"]),
        is_error=event["status"] == "ERROR",
        is_sampled=bool(event["trace_flags"] & 1),
        dimension=event["dimensions"],
    )


def _missing_row(span_id: int, operation: Any, near: str, far: str) -> MissingRow:
    module, component, name = operation or ("", "", "")
    return (f"{span_id:016x}" if span_id else "", module, component, name, near, far)
