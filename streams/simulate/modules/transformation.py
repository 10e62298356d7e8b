"""BETA: mapping, transformation, enrichment from sources behind breakers, quality scoring."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.behaviour import ENRICHMENT_SOURCES, SOURCE_SYSTEMS
from streams.simulate.faults import SLOW_DEPENDENCY
from streams.simulate.modules.parts import Breaker, Queue
from streams.simulate.modules.world import World

SOURCE_LATENCY_S: Final = {"customer_master": 0.05, "geo_lookup": 0.03, "price_list": 0.04}
SLOWDOWN: Final = 12.0
"""How many times its usual time a slow source takes."""
TIMEOUT_S: Final = 0.25
QUEUE_SECONDS: Final = 3.0
QUALITY: Final = {
    "completeness": 0.985,
    "consistency": 0.97,
    "conformance": 0.98,
    "timeliness": 0.96,
}


@dataclass
class Transformation:
    """BETA's state: its input queue and a breaker a source."""

    queue: Queue = field(default_factory=lambda: Queue(1.0))
    breakers: dict[str, Breaker] = field(
        default_factory=lambda: {name: Breaker() for name in ENRICHMENT_SOURCES}
    )

    def step(self, world: World) -> None:
        """Work on one second of ALPHA's records; leave what goes on in `world.to_gamma`."""
        out = world.out
        slow = self._enrich(world)
        trouble = {c: world.trouble("BETA", c) for c in ("mapping", "transform", "quality")}
        slow_s = slow + sum(t.slow - 1 for t in trouble.values()) * 0.25
        self.queue.capacity = QUEUE_SECONDS * world.rate
        capacity = 1.6 * world.rate / max(1.0, slow_s) * (1 - world.throttle["beta_gamma"])
        passage = self.queue.step(world.to_beta, capacity)
        self._map(world, trouble["mapping"].fails, trouble["mapping"].slow)
        transform = trouble["transform"]
        out.count("beta.transform", "rules_applied_total", 6 * passage.served)
        for source in SOURCE_SYSTEMS:
            bad = passage.served / len(SOURCE_SYSTEMS) * (0.001 + transform.fails)
            out.count("beta.transform", "transform_errors_total", bad, source)
        out.time("beta.transform", "transform_duration_seconds", 0.03 * transform.slow)
        out.count("beta.transform", "records_transformed_total", passage.served)
        out.gauge("beta.transform", "queue_depth", self.queue.level + 0.1 * world.to_beta)
        out.time("beta.transform", "queue_wait_seconds", 0.02 + passage.wait_s)
        world.second.slower("transfer_alpha_beta", 1 + min(20.0, 12 * passage.wait_s))
        self._score(world, passage.wait_s, trouble["quality"].slow)
        world.to_gamma = passage.served
        world.beta_wait_s = passage.wait_s

    def _map(self, world: World, fails: float, slow: float) -> None:
        out = world.out
        out.count("beta.mapping", "mappings_applied_total", world.to_beta)
        for source in SOURCE_SYSTEMS:
            drift = world.drift.get(source, 0.0)
            records = world.to_beta / len(SOURCE_SYSTEMS)
            bad = max(fails, 0.001, 0.2 * drift)
            out.count("beta.mapping", "mapping_errors_total", records * bad, source)
            unmapped = records * (0.01 + 1.5 * drift)
            out.count("beta.mapping", "unmapped_fields_total", unmapped, source)
        out.time("beta.mapping", "mapping_duration_seconds", 0.015 * slow)
        drifted = max(world.drift.values(), default=0.0)
        world.second.fail("schema_mapping", 0.2 * drifted / len(SOURCE_SYSTEMS))

    def _enrich(self, world: World) -> float:
        """Ask the sources for what the cache has not; return how much slower BETA gets by it."""
        out = world.out
        per_source = world.to_beta / len(ENRICHMENT_SOURCES)
        misses = per_source * (1 - world.hit_ratio)
        out.ratio("beta.enrichment", "cache_hit_ratio", world.hit_ratio)
        out.count("beta.enrichment", "cache_hits_total", world.to_beta * world.hit_ratio)
        out.count("beta.enrichment", "cache_misses_total", world.to_beta * (1 - world.hit_ratio))
        # Sources take longer when more is asked of them than usual: an M/M/1 queue at half load.
        pressure = min(4.0, 0.5 / max(0.12, 1 - 0.5 * (1 - world.hit_ratio) / 0.15))
        spent, fell_back = 0.0, 0.0
        for source in ENRICHMENT_SOURCES:
            slow = world.knobs.on(SLOW_DEPENDENCY, source)
            latency_s = SOURCE_LATENCY_S[source] * (1 + (SLOWDOWN - 1) * slow) * pressure
            timeouts = min(0.7, max(0.0, (latency_s - 0.8 * TIMEOUT_S) / (0.8 * TIMEOUT_S)))
            breaker, before = self.breakers[source], self.breakers[source].state
            if breaker.step(timeouts):
                about = ("enrichment_source", source)
                world.tell_circuit(breaker, ("BETA", "enrichment"), about, before, per_source)
            is_open = breaker.is_open
            asked = 0.0 if is_open else misses
            fallbacks = per_source * (1 - world.hit_ratio) if is_open else asked * timeouts
            changed = breaker.state != before
            out.time("beta.enrichment", "source_latency_seconds", latency_s, source)
            out.count("beta.enrichment", "source_errors_total", asked * (0.002 + timeouts), source)
            out.count("beta.enrichment", "source_timeouts_total", asked * timeouts, source)
            out.state("beta.enrichment", "breaker_state", breaker.state, source)
            out.count("beta.enrichment", "breaker_changes_total", 1.01 * changed, source)
            out.count("beta.enrichment", "fallbacks_total", fallbacks, source)
            saved = world.hit_ratio * (0.25 if is_open else 1.0)
            out.ratio("beta.enrichment", "cache_effectiveness_ratio", saved, source)
            if slow and not is_open:
                world.second.slower("enrichment", 25.0, "enrichment_source", source)
                world.second.fail("enrichment", 0.5 * timeouts, "enrichment_source", source)
            spent += 0.002 if is_open else latency_s / pressure
            fell_back += fallbacks
        world.second.slower("enrichment", pressure)
        usual = sum(SOURCE_LATENCY_S.values())
        world.completeness = 1 - fell_back / max(world.to_beta, 1e-9)
        return max(1.0, 0.7 + 0.3 * spent * pressure / usual)

    def _score(self, world: World, wait_s: float, slow: float) -> None:
        out = world.out
        drift = max(world.drift.values(), default=0.0)
        scores = dict(QUALITY)
        scores["completeness"] *= 1 - 1.2 * (1 - world.completeness)
        scores["conformance"] *= 1 - 0.15 * drift
        scores["consistency"] *= (1 - 0.08 * drift) * (1 - 0.1 * world.stale)
        scores["timeliness"] /= 1 + 0.15 * wait_s
        for name, value in scores.items():
            out.ratio("beta.quality", "dimension_score", value, name)
            short = max(0.0, 1 - value / QUALITY[name])
            violations = world.to_gamma * min(1.0, 0.002 + 3 * short)
            out.count("beta.quality", "threshold_violations_total", violations, name)
        out.ratio("beta.quality", "overall_score", sum(scores.values()) / len(scores))
        out.time("beta.quality", "scoring_duration_seconds", 0.01 * slow)
