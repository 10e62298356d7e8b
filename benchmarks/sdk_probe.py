"""What spans cost in one process: a burst, then whatever happens behind it, over and over.

Run by the case `sdk`, each variant in a process of its own: python -m benchmarks.sdk_probe VARIANT
Prints one line of JSON. The caller's time is CPU time of the thread that makes the spans; the total
is CPU time of the whole process, what encodes and sends included.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

from streams.sdk import Telemetry
from streams.simulate.behaviour import behaviour_of

BURST_TRACES = 100
SPANS_PER_TRACE = 4
STAGES = (
    "connection", "parser", "validation", "buffer", "transfer_alpha_beta", "schema_mapping",
    "field_transformation", "enrichment", "quality_scoring", "transfer_beta_gamma", "rendering",
    "routing", "delivery", "acknowledgment",
)  # fmt: skip
"""Of a record on its way through the seed pipeline, the required ones."""


class Variant(NamedTuple):
    """How a span is made, and how to wait until all are out; `told` says what became of them."""

    span: Callable[[str], AbstractContextManager[Any]]
    drain: Callable[[], object]
    told: Callable[[], dict[str, int]]


def of_nothing(_: str) -> Variant:
    return Variant(lambda _: nullcontext(), lambda: None, dict)


def of_spanloom(broker: str, **options: Any) -> Variant:
    telemetry = Telemetry("ALPHA", "probe", broker, **options)

    def span(name: str) -> AbstractContextManager[Any]:
        return telemetry.span(name, source_system="orders", format="JSON")

    def drain() -> None:
        if not telemetry.flush(30):
            raise SystemExit("spans were not sent within 30 s")

    def told() -> dict[str, int]:
        counts = telemetry.close(10)
        return {"sent": counts.sent, "dropped": sum(counts.dropped.values())}

    return Variant(span, drain, told)


def of_opentelemetry(broker: str, ratio: float = 1.0, *, is_bridge: bool = False) -> Variant:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    from streams.sdk.otel import SpanloomExporter

    sent = {"sent": 0}

    class Encoding(SpanExporter):
        """Encodes as the OTLP exporter does, and sends nothing: no network in the figure."""

        def export(self, spans: Any) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            sent["sent"] += len(spans)
            return SpanExportResult.SUCCESS

    exporter = SpanloomExporter(Telemetry("ALPHA", "probe", broker)) if is_bridge else Encoding()
    provider = TracerProvider(
        sampler=TraceIdRatioBased(ratio), resource=Resource.create({"service.name": "ALPHA"})
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("probe")

    def span(name: str) -> AbstractContextManager[Any]:
        attributes = {"source_system": "orders", "format": "JSON"}
        return tracer.start_as_current_span(name, attributes=attributes)

    def told() -> dict[str, int]:
        provider.shutdown()
        return sent

    return Variant(span, provider.force_flush, told)


VARIANTS: dict[str, Callable[[str], Variant]] = {
    "nothing": of_nothing,
    "spanloom": of_spanloom,
    "spanloom, not sampled": lambda broker: of_spanloom(broker, sample_ratio=0.0),
    "opentelemetry": of_opentelemetry,
    "opentelemetry, not sampled": lambda broker: of_opentelemetry(broker, 0.0),
    "opentelemetry to spanloom": lambda broker: of_opentelemetry(broker, is_bridge=True),
}


def trace(span: Callable[[str], AbstractContextManager[Any]]) -> None:
    with span("alpha.connect"):
        with span("alpha.parse"):
            pass
        with span("alpha.validate"), span("alpha.lookup"):
            pass


def measure(variant: Variant, spans: int) -> dict[str, float]:
    """Return microseconds a span: of the caller (best and median burst), and of the process."""
    for _ in range(5):  # clients connect, caches fill
        trace(variant.span)
    variant.drain()
    per_burst = BURST_TRACES * SPANS_PER_TRACE
    bursts, walls = [], []
    began = time.process_time()
    for _ in range(max(5, spans // per_burst)):
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(BURST_TRACES):
            trace(variant.span)
        bursts.append((time.thread_time() - cpu) / per_burst * 1e6)
        walls.append((time.perf_counter() - wall) / per_burst * 1e6)
        variant.drain()
    total = (time.process_time() - began) / (len(bursts) * per_burst) * 1e6
    return {
        "spans": len(bursts) * per_burst,
        "caller_us": round(statistics.median(bursts), 3),
        "caller_best_us": round(min(bursts), 3),
        "caller_wall_us": round(statistics.median(walls), 3),
        "total_us": round(total, 3),
    }


def hashing(_stage: str) -> None:
    """Stand for a stage that computes all the time, for about a millisecond."""
    body = b"x" * 1_000
    for _ in range(400):
        body = hashlib.sha256(body).digest() * 32


def reference(stage: str) -> None:
    """Stand for a stage of the simulated pipeline, at its own pace: it waits for others."""
    time.sleep(behaviour_of(stage).duration_ms / 1_000)


def waiting(stage: str) -> None:
    """Stand for a stage of the simulated pipeline, ten times as fast."""
    time.sleep(behaviour_of(stage).duration_ms / 10_000)


PIPELINES: Final = (("hashing", hashing, 1), ("waiting", waiting, 1), ("reference", reference, 4))
"""What a record goes through, and one in how many of `--records` goes through it."""


def latency(variant: Variant, work: Callable[[str], None], records: int) -> tuple[float, float]:
    """Return what a record takes without spans, and how much more with them, in us.

    The median of pairs; each of the two goes first as often as the other.
    """
    bare, extra = [], []
    for n in range(records):
        taken = {}
        for is_told in (n % 2 == 0, n % 2 == 1):
            began = time.perf_counter()
            for stage in STAGES:
                if is_told:
                    with variant.span(stage):
                        work(stage)
                else:
                    with nullcontext():
                        work(stage)
            taken[is_told] = time.perf_counter() - began
        bare.append(taken[False] * 1e6)
        extra.append((taken[True] - taken[False]) * 1e6)
    return statistics.median(bare), statistics.median(extra)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--spans", type=int, default=40_000)
    parser.add_argument("--records", type=int, default=200)
    options = parser.parse_args()
    variant = VARIANTS[options.variant](options.broker)
    found = measure(variant, options.spans)
    if options.variant in ("nothing", "spanloom", "opentelemetry"):
        for name, work, one_in in PIPELINES:
            bare, extra = latency(variant, work, max(10, options.records // one_in))
            found[f"{name}_record_us"] = round(bare, 1)
            found[f"{name}_extra_us"] = round(extra, 1)
    print(json.dumps({**found, **variant.told()}))


if __name__ == "__main__":
    main()
