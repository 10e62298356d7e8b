"""How the stages of the seed pipeline behave: how long they take, what varies, what goes wrong.

The contract says which spans there are; this table only says how they look. A stage that the
table does not know behaves as `DEFAULT`, so that another contract can be simulated too.
Invariant: without a fault a stage ends well within its deadline.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from streams.simulate.layout import StageSpec


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one stage behaves.

    Attributes:
        duration_ms: median time it takes, before the factors of its dimensions.
        dimensions: keys of the record's profile that its span carries.
        probability: how often an optional stage happens.
        skipped_when: (profile key, value) with which an optional stage never happens.
        inside: the stage during which it happens; "" for a stage of its own time.
        kept_in: the optional stage that keeps a failed attempt until the retry; "" for no retry.
        audit: operation of the audit entry that the stage writes; "" for none.
        span_kind: as in TelemetryEvent.
        error_category: what an error of this stage is called.
        ends_on_error: whether a record that fails here for a fault's sake is refused and goes no
            further; elsewhere it goes on, from a fallback or after another try.
    """

    duration_ms: float = 10.0
    dimensions: tuple[str, ...] = ()
    probability: float = 0.5
    skipped_when: tuple[str, str] | None = None
    inside: str = ""
    kept_in: str = ""
    audit: str = ""
    span_kind: str = "INTERNAL"
    error_category: str = "Processing"
    ends_on_error: bool = False


DEFAULT: Final = Behaviour()

BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "connection": Behaviour(
        12,
        ("source_system",),
        audit="READ",
        span_kind="SERVER",
        error_category="Connection",
        ends_on_error=True,
    ),
    "parser": Behaviour(8, ("source_system",), error_category="Parse", ends_on_error=True),
    "validation": Behaviour(
        10, ("source_system",), error_category="Validation", ends_on_error=True
    ),
    "buffer": Behaviour(40, error_category="Buffer Overflow", ends_on_error=True),
    "transfer_alpha_beta": Behaviour(25, span_kind="PRODUCER"),
    "schema_mapping": Behaviour(15, span_kind="CONSUMER"),
    "field_transformation": Behaviour(30, audit="TRANSFORM"),
    "cache_lookup": Behaviour(
        2,
        ("tier", "cache_result"),
        probability=1.0,
        skipped_when=("cache_result", "bypass"),
        inside="enrichment",
        span_kind="CLIENT",
    ),
    "enrichment": Behaviour(
        14,
        ("enrichment_source", "cache_result"),
        span_kind="CLIENT",
        error_category="Resource Exhaustion",
    ),
    "quality_scoring": Behaviour(10),
    "back_pressure": Behaviour(20, probability=0.01),
    "circuit_breaker": Behaviour(1, probability=0.003),
    "transfer_beta_gamma": Behaviour(25, span_kind="PRODUCER"),
    "rendering": Behaviour(25, ("format",), span_kind="CONSUMER"),
    "routing": Behaviour(5, ("destination",)),
    "delivery": Behaviour(
        70,
        ("destination", "ack_pattern", "attempt"),
        kept_in="dead_letter",
        audit="DELIVER",
        span_kind="CLIENT",
        error_category="Connection",
    ),
    # Only a failed attempt gets there (see `kept_in`), never a record by itself.
    "dead_letter": Behaviour(30, ("destination", "attempt"), probability=0.0),
    "acknowledgment_receipt": Behaviour(25, ("destination", "ack_pattern"), span_kind="CONSUMER"),
    "acknowledgment": Behaviour(25, ("destination", "ack_pattern")),
    "batch_assembly": Behaviour(20),
    "batch_transfer": Behaviour(35, span_kind="PRODUCER"),
    "batch_acknowledgment": Behaviour(20, span_kind="CONSUMER"),
    "schedule": Behaviour(15, ("job_id",), audit="SCHEDULE"),
    "dependency_resolution": Behaviour(40, ("job_id",)),
    "execution": Behaviour(250, ("job_id", "job_kind"), error_category="Resource Exhaustion"),
    "cache_warm_up": Behaviour(60, ("tier", "job_id"), probability=0.2),
    "recovery": Behaviour(30, ("job_id",), probability=0.03),
    "completion": Behaviour(10, ("job_id",)),
    "request": Behaviour(10, span_kind="SERVER"),
    "feature_lookup": Behaviour(12, ("feature_set",), span_kind="CLIENT", error_category="Feature"),
    "feature_transform": Behaviour(20, ("feature_set",), error_category="Feature"),
    "model_routing": Behaviour(3, ("model_version",), error_category="Model"),
    "scoring": Behaviour(45, ("model_version",), audit="PREDICT", error_category="Timeout"),
    "response": Behaviour(5, span_kind="SERVER"),
}

# (dimension, value) -> how many times longer a span with it takes.
FACTORS: Final[dict[tuple[str, str], float]] = {
    ("tier", "distributed"): 2.5,
    ("tier", "disk"): 8.0,
    ("cache_result", "miss"): 4.0,
    ("cache_result", "bypass"): 4.0,
    ("format", "XML"): 1.3,
    ("format", "Parquet"): 1.6,
    ("ack_pattern", "async"): 1.8,
    ("ack_pattern", "batch"): 2.5,
}

SOURCE_SYSTEMS: Final = ("orders", "payments", "inventory", "telemetry_hub")
ENRICHMENT_SOURCES: Final = ("customer_master", "geo_lookup", "price_list")
FORMATS: Final = ("JSON", "XML", "CSV", "Avro", "Parquet")
FEATURE_SETS: Final = ("customer", "session", "catalog")
MODEL_VERSION: Final = "v7"
"""The released one."""
JOB_KINDS: Final = ("compaction", "reindex", "reference_refresh")
# A destination acknowledges in its own way, always the same.
ACK_PATTERNS: Final = {
    "partner_api": "sync",
    "crm": "sync",
    "event_bus": "async",
    "search_index": "async",
    "warehouse": "batch",
}


def behaviour_of(stage_id: str) -> Behaviour:
    """Return how a stage behaves, `DEFAULT` for a stage that the table does not know."""
    return BEHAVIOURS.get(stage_id, DEFAULT)


def draw_profile(rng: Random) -> dict[str, str]:
    """Return what is special about one record or job: a value for each profile key but job_id."""
    destination = rng.choice(tuple(ACK_PATTERNS))
    return {
        "source_system": rng.choice(SOURCE_SYSTEMS),
        "enrichment_source": rng.choice(ENRICHMENT_SOURCES),
        "cache_result": rng.choices(("hit", "miss", "bypass"), (0.7, 0.1, 0.2))[0],
        "tier": rng.choices(("memory", "distributed", "disk"), (0.6, 0.3, 0.1))[0],
        "format": rng.choice(FORMATS),
        "destination": destination,
        "ack_pattern": ACK_PATTERNS[destination],
        "attempt": "1",
        "job_kind": rng.choice(JOB_KINDS),
        "feature_set": rng.choice(FEATURE_SETS),
        "model_version": MODEL_VERSION,
    }


def draw_duration_us(stage: StageSpec, dimensions: dict[str, str], rng: Random) -> int:
    """Return how long one span of the stage takes, > 0, at most 60 % of its deadline."""
    median_us = behaviour_of(stage.id).duration_ms * 1000
    for item in dimensions.items():
        median_us *= FACTORS.get(item, 1.0)
    longest_us = 0.6 * stage.deadline_us if stage.deadline_us else 3 * median_us
    return max(1, int(min(median_us * rng.lognormvariate(0.0, 0.35), longest_us)))
