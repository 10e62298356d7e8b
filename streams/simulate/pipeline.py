"""The simulated pipeline: its records, batches, jobs and idle chatter, in the order of delivery.

Owns who is born when and how an event travels: silence, wrong clocks, delay, repeats. Reads no
clock; the caller says how far to go. Invariant: emissions come in order of `emit_us`, and neither
their order nor their content depends on how the time is cut into slices.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush, merge
from random import Random
from typing import Final

from streams.contract.model import Contract
from streams.errors import ConfigError
from streams.simulate.behaviour import draw_profile
from streams.simulate.events import Emission, Event, partition_key
from streams.simulate.faults import (
    CLOCK_SKEW,
    DUPLICATE_STORM,
    MODULE_SILENT,
    Fault,
    FaultTable,
)
from streams.simulate.layout import BATCH_FLOW, JOB_FLOW, FlowSpec, read_layout
from streams.simulate.modules.model import PipelineModel
from streams.simulate.render import Draft, render_steps
from streams.simulate.signals import Signals
from streams.simulate.truth import Truth
from streams.simulate.walk import Step, Unit, Walk
from streams.units import SECOND_US

RECORDS_PER_BATCH: Final = 16
RECORDS_PER_JOB: Final = 12
DELAY_US_MAX: Final = 80_000
"""Longest way of an event to the broker; the shortest is 0."""
DUPLICATE_RATIO: Final = 0.0005
"""Events that are delivered twice for no planted reason."""
REPEAT_US: Final = (5_000, 200_000)
"""How much later than the first the natural repeat comes."""
STORM_REPEAT_US: Final = (1_000, 50_000)
"""The same for a repeat of a duplicate storm."""
NEVER_US: Final = 1 << 62

_Birth = tuple[int, int, Callable[[int, int], None], int]
"""When, a rank among births of the same time, what to do, and the ordinal to do it with."""


class Simulation:
    """Makes the telemetry of `seconds` of the pipeline's life.

    Another seed gives other ids; the same seed gives the same ids, so a second run of a seed into
    the same topics repeats traces that the engine knows already.

    Args:
        contract: the pipeline; records take its flow `record`, else its first; the flows `batch`
            and `job` are taken where they exist.
        seed: decides everything that chance decides.
        start_us: when it begins, Unix microseconds.
        seconds: for how long records are born; the last ones come to their end a little later.
        records_per_second: how many of them, > 0; about 19 events each, beside the signals' own.
        faults: what goes wrong; times are absolute.

    Raises:
        ConfigError: no flow, a rate or length that is not over 0, or a fault at a
            place that the contract does not have.
    """

    def __init__(
        self,
        contract: Contract,
        seed: int,
        start_us: int,
        seconds: float,
        records_per_second: float = 40.0,
        faults: Sequence[Fault] = (),
    ) -> None:
        if not seconds > 0 or not records_per_second > 0:
            raise ConfigError(
                f"simulation: seconds ({seconds}) and records_per_second ({records_per_second}) "
                "must both be over 0"
            )
        self._layout = read_layout(contract)
        self._table = FaultTable(self._layout, faults)
        self._model = PipelineModel(self._layout, seed, records_per_second, start_us, faults)
        self._signals = Signals(contract, self._layout)
        self._seed = seed
        self._start_us = start_us
        self._period_us = SECOND_US / records_per_second
        self._record_count = max(1, int(seconds * records_per_second))
        self.end_us = start_us + int(seconds * SECOND_US)
        self.truth = Truth(self._layout, self._table, seconds)
        self._batch: list[tuple[Step, Unit]] = []
        self._queue: list[tuple[int, int, bool, Event]] = []
        self._queued = 0
        self._births = iter(merge(*self._sources()))
        self._next = next(self._births, None)

    @property
    def is_drained(self) -> bool:
        """Whether everything that was to happen has been yielded."""
        return self._next is None and not self._queue

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were planted, in the order given."""
        return self._table.faults

    def emissions(self, until_us: int) -> Iterator[Emission]:
        """Yield what reaches the broker before `until_us` and was not yielded yet.

        Events that are delivered twice are the same mapping twice: do not change them.
        """
        while self._next is not None and self._next[0] < until_us:
            born_us, _, bear, number = self._next
            bear(born_us, number)
            self._next = next(self._births, None)
        while self._queue and self._queue[0][0] < until_us:
            emit_us, _, is_duplicate, event = heappop(self._queue)
            topic = self._layout.topics[event["module"]]
            emission = Emission(topic, partition_key(event), event, emit_us)
            self.truth.count_emission(emission, is_duplicate)
            yield emission

    def drain(self) -> Iterator[Emission]:
        """Yield all that is left, slice by slice so that little of it is held at a time."""
        until_us = self._start_us
        while not self.is_drained:
            until_us = until_us + SECOND_US if self._next is not None else NEVER_US
            yield from self.emissions(until_us)

    def _sources(self) -> list[Iterator[_Birth]]:
        seconds = -(-(self.end_us - self._start_us) // SECOND_US)
        period_us = self._period_us
        sources = [
            self._steady(0, self._bear_second, seconds, SECOND_US),
            self._steady(1, self._bear_record, self._record_count, period_us),
        ]
        if JOB_FLOW in self._layout.flows:
            jobs = -(-self._record_count // RECORDS_PER_JOB)
            sources.append(self._steady(2, self._bear_job, jobs, period_us * RECORDS_PER_JOB))
        return sources

    def _steady(
        self, rank: int, bear: Callable[[int, int], None], count: int, period_us: float
    ) -> Iterator[_Birth]:
        for number in range(count):
            yield self._start_us + int(number * period_us), rank, bear, number

    def _unit(self, kind: str, number: int, born_us: int) -> Unit:
        name = f"{self._seed}/{kind}/{number}"
        return Unit(
            born_us=born_us,
            rng=Random(name),
            transport=Random(f"{name}/transport"),
            chance=Random(f"{name}/chance"),
        )

    def _bear_second(self, born_us: int, number: int) -> None:
        unit = self._unit("second", number, born_us)
        second = self._model.at(born_us)
        self._deliver(unit, self._signals.render(unit, number, second))
        self.truth.count_effects(unit, ())

    def _bear_record(self, born_us: int, number: int) -> None:
        unit = self._unit("record", number, born_us)
        unit.born_us += unit.rng.randrange(max(1, int(0.8 * self._period_us)))
        unit.record_id = f"rec-{number:08d}"
        unit.batch_id = self._batch_id(number)
        unit.correlation_id = f"{unit.batch_id}/{number % RECORDS_PER_BATCH:02d}"
        unit.profile = draw_profile(unit.rng)
        self.truth.records += 1
        steps = self._walk(unit, self._layout.record)
        batch_flow = self._layout.flows.get(BATCH_FLOW)
        if batch_flow is None:
            return
        # The record is handed over where it first meets the module that makes up the batches.
        module = batch_flow.stages[0].module
        handed = next((step for step in steps if step.stage.module == module), None)
        if handed is not None:
            self._batch.append((handed, unit))
        is_last = number == self._record_count - 1
        if self._batch and (is_last or number % RECORDS_PER_BATCH == RECORDS_PER_BATCH - 1):
            self._bear_batch(batch_flow, number)

    def _bear_batch(self, flow: FlowSpec, last_record: int) -> None:
        steps = [step for step, _ in self._batch]
        born_us = max(step.start_us for step in steps)
        unit = self._unit("batch", last_record // RECORDS_PER_BATCH, born_us)
        unit.batch_id = self._batch_id(last_record)
        unit.correlation_id = unit.batch_id
        unit.links = [
            {"trace_id": step.trace_id, "span_id": step.span_id} for step in steps if step.trace_id
        ]
        self._batch.clear()
        self._walk(unit, flow)

    def _bear_job(self, born_us: int, number: int) -> None:
        unit = self._unit("job", number, born_us)
        unit.correlation_id = f"job-{number:06d}"
        unit.profile = draw_profile(unit.rng) | {"job_id": unit.correlation_id}
        self._walk(unit, self._layout.flows[JOB_FLOW])

    def _batch_id(self, record: int) -> str:
        return f"batch-{record // RECORDS_PER_BATCH:06d}"

    def _walk(self, unit: Unit, flow: FlowSpec) -> list[Step]:
        is_record = flow is self._layout.record
        steps = Walk(unit, flow, self._table, self._model, is_record=is_record).run()
        spans = self._deliver(unit, render_steps(unit, steps))
        for by_stage in spans.values():
            self.truth.count_trace(flow, by_stage)
        self.truth.count_effects(unit, (step.trace_id for step in steps if step.trace_id))
        return steps

    def _deliver(
        self, unit: Unit, drafts: Iterable[Draft]
    ) -> dict[str, dict[str, list[dict[str, str]]]]:
        """Queue what gets out of its module; return its spans by trace id and stage."""
        spans: dict[str, dict[str, list[dict[str, str]]]] = {}
        for draft in drafts:
            event, module = draft.event, draft.event["module"]
            delay_us = unit.transport.randrange(DELAY_US_MAX + 1)
            is_repeated = unit.transport.random() < DUPLICATE_RATIO
            silent = self._table.at_module(MODULE_SILENT, module, draft.end_us)
            if silent is not None:
                unit.effects[silent] += 1
                continue
            skewed = self._table.at_module(CLOCK_SKEW, module, draft.start_us)
            if skewed is not None:
                event["timestamp"] += self._table.faults[skewed].skew_us
                unit.effects[skewed] += 1
            emit_us = draft.end_us + delay_us
            self._queue_event(emit_us, event, is_duplicate=False)
            if is_repeated:
                again_us = emit_us + unit.transport.randint(*REPEAT_US)
                self._queue_event(again_us, event, is_duplicate=True)
            storm = self._table.at_module(DUPLICATE_STORM, module, draft.end_us)
            if storm is not None and unit.chance.random() < self._table.faults[storm].share:
                unit.effects[storm] += 1
                again_us = emit_us + unit.chance.randint(*STORM_REPEAT_US)
                self._queue_event(again_us, event, is_duplicate=True)
            if draft.stage_id:
                by_stage = spans.setdefault(event["trace_id"], {})
                by_stage.setdefault(draft.stage_id, []).append(event["dimensions"])
        return spans

    def _queue_event(self, emit_us: int, event: Event, *, is_duplicate: bool) -> None:
        heappush(self._queue, (emit_us, self._queued, is_duplicate, event))
        self._queued += 1
