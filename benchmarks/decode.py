"""How many telemetry events per CPU second does the columnar decode take?

Fixed seed and size: 5,000 events a chunk, traces of 8 spans over 6 modules, 3 dimensions each.
Run: python -m benchmarks.decode [--events N] [--dimension KEY]
"""

import argparse
import time

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.core.columns import Operations
from streams.core.signals.series import SeriesBook

CHUNK = 5_000
STAGES = (
    ("ALPHA", "ingestion", "ingest"),
    ("ALPHA", "validation", "validate"),
    ("BETA", "enrichment", "enrich"),
    ("BETA", "transformation", "transform"),
    ("EPSILON", "cache", "lookup"),
    ("PHI", "orchestration", "schedule"),
    ("GAMMA", "output", "deliver"),
    ("INTEGRATION", "acknowledgment", "acknowledge"),
)


def event_values(n: int, seed: int) -> list[bytes]:
    """Return n realistic wire values."""
    rng = np.random.default_rng(seed)
    out = []
    trace_id, parent = "", ""
    for i in range(n):
        module, component, name = STAGES[i % 8]
        if i % 8 == 0:
            trace_id, parent = rng.bytes(16).hex(), ""
        span_id = rng.bytes(8).hex()
        out.append(
            encode(
                "telemetry_event",
                {
                    "event_id": f"{rng.bytes(4).hex()}-0000-4000-8000-{rng.bytes(6).hex()}",
                    "trace_id": trace_id,
                    "span_id": span_id,
                    "parent_span_id": parent,
                    "timestamp": 1_760_000_000_000_000 + i * 137,
                    "module": module,
                    "component": component,
                    "event_type": "TRACE",
                    "severity": "INFO",
                    "name": name,
                    "value": float("nan"),
                    "unit": "",
                    "dimensions": {
                        "source_system": "crm",
                        "destination": "warehouse",
                        "tier": "gold",
                    },
                    "record_id": f"rec-{i // 8:08d}",
                    "batch_id": f"batch-{i // 800:05d}",
                    "correlation_id": "",
                    "operation": "TRANSFORM",
                    "actor": f"svc-{module.lower()}",
                    "duration_us": int(rng.integers(100, 50_000)),
                    "status": "OK",
                    "span_kind": "INTERNAL",
                    "trace_flags": 1,
                    "links": [],
                },
            )
        )
        parent = span_id
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--dimension", action="append", default=[])
    args = parser.parse_args()
    values = event_values(CHUNK, seed=1)
    keys = [None] * CHUNK
    kafka_us = np.full(CHUNK, 1_760_000_000_000_000, np.int64)
    decoder = EventDecoder(
        default_schemas(), Operations(), dimensions=tuple(args.dimension), series=SeriesBook()
    )
    decoder.decode(0, keys, values, kafka_us)
    rounds, chunks = 5, max(1, args.events // CHUNK // 5)
    spent = []
    for _ in range(rounds):
        cpu = time.process_time()
        for _ in range(chunks):
            events, rejected = decoder.decode(0, keys, values, kafka_us)
            assert len(events) == CHUNK
            assert not rejected
        spent.append(time.process_time() - cpu)
    size = sum(map(len, values)) / CHUNK
    print(f"{rounds} rounds of {chunks} chunks of {CHUNK} events of {size:.0f} bytes")
    for label, seconds in (("best", min(spent)), ("median", sorted(spent)[rounds // 2])):
        print(f"{label}: {chunks * CHUNK / seconds:,.0f} events per CPU second")


if __name__ == "__main__":
    main()
