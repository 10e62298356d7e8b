"""The slow, obvious join: one event at a time, a dictionary for each trace, from the rules' text.

It shares no code with the engine and reads nothing but the plan's own fields. It says which events
a trace's first revision holds, when no clock helps, and which its last one holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.core.columns import Operation
from streams.core.fidelity.plan import Plan
from tests.join_cases import Event
from tests.oracle_judge import Verdict, judge_trace

FUTURE_US = 300_000_000


@dataclass
class Topic:
    """Stream time of one topic, from its own events."""

    seen_us: int | None = None
    disorder_us: int = 0
    progress_us: int | None = None

    def take(self, event: Event, disorder_max_us: int) -> None:
        """Move on with one event: its time, less the disorder that the topic has shown."""
        if self.seen_us is not None and event.at_us > event.kafka_us + FUTURE_US:
            return  # a wrong clock says nothing
        at_us = min(event.at_us, event.kafka_us)
        self.seen_us = at_us if self.seen_us is None else max(self.seen_us, at_us)
        if self.seen_us - at_us <= disorder_max_us:
            self.disorder_us = max(self.disorder_us, self.seen_us - at_us)
        now_us = self.seen_us - self.disorder_us
        self.progress_us = now_us if self.progress_us is None else max(self.progress_us, now_us)


@dataclass
class OneTrace:
    """All that is known of a trace."""

    events: dict[tuple[bool, int], Event] = field(default_factory=dict)
    first: frozenset[int] | None = None
    first_us: int = 1 << 62
    last_us: int = -(1 << 62)
    entry_flow: int = -1


class SlowJoin:
    """Joins events one by one.

    Args:
        plan: the contract.
        topic_of_module: index by module; `other` for all others.
        topics: how many topics traces may have to wait for.
        wait_us: the wait of a trace without a flow, after its last event.
        disorder_max_us: lateness beyond this is no habit.
    """

    def __init__(
        self,
        plan: Plan,
        topic_of_module: Mapping[str, int],
        *,
        other: int,
        topics: int,
        wait_us: int,
        disorder_max_us: int,
    ) -> None:
        self.traces: dict[int, OneTrace] = {}
        self._plan = plan
        self._topic_of_module = topic_of_module
        self._other = other
        self._topics = [Topic() for _ in range(topics)]
        self._wait_us = wait_us
        self._disorder_max_us = disorder_max_us

    def run(self, events: Sequence[Event]) -> None:
        """Take in a whole log; what is open in the end closes by itself."""
        for event in events:
            self._close_due()
            if event.trace:
                self._add(event)
            self._topics[event.topic].take(event, self._disorder_max_us)
        self._close_due()
        for trace in self.traces.values():
            if trace.first is None:
                trace.first = self._numbers(trace)

    def gather(self, events: Sequence[Event]) -> None:
        """Take events in without asking when a trace closes: enough for `final`, and quick."""
        for event in events:
            if event.trace:
                self._add(event)

    def first(self) -> dict[int, frozenset[int]]:
        """Return the identities of the events of each trace's first revision."""
        return {number: trace.first or frozenset() for number, trace in self.traces.items()}

    def final(self) -> dict[int, tuple[frozenset[int], Verdict]]:
        """Return the identities of all events of each trace, and what is to be said of it."""
        out = {}
        for number, trace in self.traces.items():
            spans = [e.span() for e in trace.events.values() if e.is_span]
            told = not any(e.is_sampled for e in trace.events.values())
            verdict = judge_trace(spans, self._plan, is_unsampled=told)
            out[number] = self._numbers(trace), verdict
        return out

    @staticmethod
    def _numbers(trace: OneTrace) -> frozenset[int]:
        return frozenset(e.number for e in trace.events.values())

    def _add(self, event: Event) -> None:
        trace = self.traces.setdefault(event.trace, OneTrace())
        trace.events.setdefault((event.is_span, event.number), event)
        if trace.first is None:
            # A clock from the future decides about no wait.
            held_us = min(event.at_us, event.kafka_us + FUTURE_US)
            trace.first_us = min(trace.first_us, held_us)
            trace.last_us = max(trace.last_us, held_us)

    def _close_due(self) -> None:
        for trace in self.traces.values():
            if trace.first is None and self._is_due(trace):
                trace.first = self._numbers(trace)

    def _is_due(self, trace: OneTrace) -> bool:
        spans = [e.span() for e in trace.events.values() if e.is_span]
        verdict = judge_trace(spans, self._plan)
        everyone = set(range(len(self._topics)))
        if verdict.flow < 0:
            return self._all_passed(everyone, trace.last_us + self._wait_us)
        flow = self._plan.flows[verdict.flow]
        codes = [int(code) for code in flow.stage_code]
        in_full, awaited = True, set()
        for position, code in enumerate(codes):
            stage = self._plan.stage_operation[code]
            seen = sum(self._is(stage, s.operation) for s in spans)
            met = any(
                c.bit == flow.required_bit[position]
                and self._is(self._plan.stage_operation[c.code], s.operation)
                and s.dimension.get(c.dimension) in c.values
                for c in self._plan.conditions
                for s in spans
            )
            # How many are distinct is known when the trace is closed, not before.
            if (flow.is_required[position] or met) and (not seen or flow.min_count[position] > 1):
                in_full = False
                awaited.add(self._topic_of_module.get(stage.module, self._other))
        asks = bool(flow.is_required.any() or (flow.required_bit >= 0).any())
        deadline_us = trace.first_us + flow.wait_us
        if in_full:
            modules = [self._plan.stage_operation[code].module for code in codes]
            awaited = {self._topic_of_module.get(m, self._other) for m in modules}
        if in_full and asks and not flow.settle_us:
            return True
        if in_full and asks:
            deadline_us = min(trace.last_us + flow.settle_us, deadline_us)
        return self._all_passed(awaited, deadline_us)

    def _is(self, stage: Operation, operation: Operation) -> bool:
        """Say whether an operation is this stage; an exact component goes before any component."""
        exact = operation in self._plan.stage_operation
        return operation == stage if exact else stage == operation._replace(component="")

    def _all_passed(self, topics: set[int], deadline_us: int) -> bool:
        reached = [self._topics[t].progress_us for t in topics]
        return all(p is not None and p > deadline_us for p in reached)
