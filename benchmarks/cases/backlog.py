"""Reading a finished topic: the run that `throughput`, `open` and `curve` are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases.lab import CaseError, Lab, Run, say
from benchmarks.cases.load import Load
from benchmarks.cases.outputs import read_all
from benchmarks.cases.samples import Sample, Sampler, Stretch, between

RUN_SECONDS = 1_800.0
SETTLE_SECONDS = 90.0
FULL_SHARE = 0.9


@dataclass(frozen=True)
class Backlog:
    """What one run over a finished topic measured.

    Attributes:
        spans: in the topic, those that came twice included.
        result: from the worker's own RESULT line; all zeros with several workers.
        watched: from outside, from the moment that all workers had their partitions to the last
            record; what was read before is in neither its spans nor its seconds.
        steady: from outside, while nearly as many traces were open as ever; all zeros where no
            two samples saw that.
        rss_max_bytes: of the workers' process trees together.
        open_max: traces open at once, at most.
        broker_cpu_s: of a broker of our own.
        faults: what was wrong with the output.
    """

    spans: int
    result: Stretch
    watched: Stretch
    steady: Stretch
    rss_max_bytes: int
    open_max: int
    broker_cpu_s: float
    faults: list[str]


def read_backlog(
    lab: Lab, name: str, load: Load, *, partitions: int = 4, workers: int = 1, wait_s: float = 30.0
) -> Backlog:
    """Feed a load, then read it with fresh workers, and check what came out."""
    with lab.run(name, partitions, wait_s) as run:
        run.create_topics()
        say(f"{name}: feeding {load.traces:,} traces of {load.spans} spans")
        fed = run.feed(load)()
        spans = int(fed["records"])
        rate = spans / max(fed["seconds"], 1e-9)
        say(f"{name}: {spans:,} spans fed, {rate:,.0f} a second; reading them")
        watched, sampler, result = _read(run, spans, workers)
        say(f"{name}: read, checking what came out")
        outputs = read_all(run, load)
        return Backlog(
            spans,
            result,
            watched,
            full_stretch(sampler.samples),
            sampler.rss_max_bytes,
            sampler.open_max,
            sampler.broker_cpu_s(),
            outputs.faults(),
        )


def _read(run: Run, spans: int, workers: int) -> tuple[Stretch, Sampler, Stretch]:
    """Read the topic to its end; return the view from outside and the worker's own."""
    ends_itself = workers == 1
    for number in range(workers):
        until = ["--exit-after", str(spans)] if ends_itself else []
        run.worker(*until, "--instance", f"w{number}", state=f"state-{number}")
    sampler = Sampler(run.workers, run.lab.broker_pid)
    with sampler:
        for worker in run.workers:
            run.wait_until_ready(worker, 1)
        if not ends_itself:
            # The first one had all partitions to itself until the others came.
            run.wait_for(
                lambda: sum(len(w.restored()) for w in run.workers) >= run.partitions,
                SETTLE_SECONDS,
                "the workers have all partitions",
            )
        first = sampler.now()
        if ends_itself:
            run.workers[0].finish(RUN_SECONDS)
        else:
            run.wait_for(lambda: run.committed() >= spans, RUN_SECONDS, "all is committed", 0.5)
            _wait_until_closed(run, sampler)
    counted = [s for s in sampler.samples if s.values and s.at_s >= first.at_s]
    if not counted:
        raise CaseError("the workers ended before they could be sampled: take more spans")
    last = next((s for s in counted if s.accepted >= spans), counted[-1])
    watched = between(first if first.values else counted[0], last)
    if not ends_itself:
        for worker in run.workers:
            worker.stop()
        return watched, sampler, Stretch(0, 0.0, 0.0)
    said = run.workers[0].result()
    if said["spans"] != spans:
        raise CaseError(f"the worker took {said['spans']} of {spans} spans")
    return watched, sampler, Stretch(spans, said["wall_s"], said["cpu_s"])


def _wait_until_closed(run: Run, sampler: Sampler) -> None:
    """Wait until no trace is open and what closed last has been committed."""

    def is_closed() -> bool:
        values = sampler.now().values
        return bool(values) and values["spanloom_open_traces"] == 0

    run.wait_for(is_closed, RUN_SECONDS, "all traces closed", 0.5)


def full_stretch(samples: Sequence[Sample]) -> Stretch:
    """Return the stretch in which at least nine tenths of the most open traces were open.

    From the first such sample to the last; all zeros when there are not two.
    """
    most = max((s.open_traces for s in samples), default=0)
    full = [s for s in samples if s.values and s.open_traces >= FULL_SHARE * most]
    if len(full) < 2 or most == 0:
        return Stretch(0, 0.0, 0.0)
    return between(full[0], full[-1])
