"""How many telemetry events per CPU second does the columnar decode take?

Fixed seed and size: 5,000 events a chunk, traces of 8 spans over 6 modules, 3 dimensions each.
Run: python -m benchmarks.decode [--events N] [--dimension KEY] [--personal]

With --personal also what it takes to treat three personal fields, beside it in the same run.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating
from streams.core.columns import EventColumns, Operations
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
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


PERSONAL = ("actor", "record_id", "dimensions.source_system")


def privacy() -> Privacy:
    """Return the rules of three personal fields, one a dimension."""
    rules = rules_of(dict.fromkeys(PERSONAL, "PII"), {})
    return Privacy(rules, Pseudonyms([Key("k1", b"s" * 32)]))


def rates(decode: Callable[[], EventColumns], chunks: int, label: str) -> float:
    """Decode in five rounds; print and return the best of events per CPU second."""
    rounds, spent = 5, []
    decode()
    for _ in range(rounds):
        cpu = time.process_time()
        for _ in range(chunks):
            assert len(decode()) == CHUNK
        spent.append(time.process_time() - cpu)
    best, median = (chunks * CHUNK / s for s in (min(spent), sorted(spent)[rounds // 2]))
    print(f"{label}: best {best:,.0f}, median {median:,.0f} events per CPU second")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--dimension", action="append", default=[])
    parser.add_argument("--personal", action="store_true", help=f"{', '.join(PERSONAL)} personal")
    args = parser.parse_args()
    values = event_values(CHUNK, seed=1)
    size, chunks = sum(map(len, values)) / CHUNK, max(1, args.events // CHUNK // 5)
    print(f"5 rounds of {chunks} chunks of {CHUNK} events of {size:.0f} bytes")
    kafka_us = np.full(CHUNK, 1_760_000_000_000_000, np.int64)

    def decoder(rules: Privacy | None = None) -> EventDecoder:
        return EventDecoder(
            default_schemas(),
            Operations(),
            dimensions=tuple(args.dimension),
            series=SeriesBook(),
            treating=None if rules is None else EventTreating(rules),
        )

    def of(using: EventDecoder, given: list[bytes]) -> EventColumns:
        events, rejected = using.decode(0, [None] * CHUNK, given, kafka_us)
        assert not rejected
        return events

    plain, warm = decoder(), decoder(privacy())
    base = rates(lambda: of(plain, values), chunks, "nothing personal")
    if not args.personal:
        return
    treated = [encode("telemetry_event", privacy().event(decode(value))) for value in values]
    for label, run in (
        ("values that came before", lambda: of(warm, values)),
        ("values that are new", lambda: of(decoder(privacy()), values)),
        ("treated by an edge", lambda: of(warm, treated)),
    ):
        found = rates(run, chunks, f"personal, {label}")
        print(f"  {base / found:.2f} times the CPU of nothing personal")


if __name__ == "__main__":
    main()
