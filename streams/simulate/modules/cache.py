"""EPSILON: cache tiers, their policies and replication, and warm-up by jobs."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.faults import CACHE_STALE
from streams.simulate.modules.parts import Breaker
from streams.simulate.modules.world import World

TIERS: Final = {"memory": (0.62, 0.002), "distributed": (0.42, 0.005), "disk": (0.35, 0.016)}
"""By tier: which part of what reaches it hits, and how long a lookup takes, in seconds."""
PURPOSES: Final = {"enrichment": 0.8, "buffer": 0.15, "warm_up": 0.05}
POOL_SIZE: Final = 16.0


@dataclass
class Cache:
    """EPSILON's state: how stale its entries are, how much it holds, and the breaker before it."""

    stale: float = 0.0
    warmth: float = 1.0
    fill: float = 0.6
    breaker: Breaker = field(default_factory=lambda: Breaker(opens_at=0.75))

    def step(self, world: World) -> None:
        """Answer one second of lookups; leave the hit ratio in `world.hit_ratio`."""
        out = world.out
        wrong = world.knobs.on(CACHE_STALE)
        self.stale += 0.5 * (wrong - self.stale)
        self.warmth += 0.15 * (world.warmth - self.warmth)
        useful = max(0.0, (1 - 0.75 * self.stale) * (0.7 + 0.3 * self.warmth))
        asked, missed = world.to_beta or world.rate, 1.0
        status = 0 if self.stale < 0.3 else 1 if self.stale < 0.7 else 2
        for tier, (hit_ratio, latency_s) in TIERS.items():
            hits = hit_ratio * useful
            slow = 1 + 1.5 * self.stale
            used = min(0.98, self.fill * (1.2 if tier == "memory" else 1.0) + 0.25 * self.stale)
            out.count("epsilon.cache", "hits_total", asked * missed * hits, tier)
            out.count("epsilon.cache", "misses_total", asked * missed * (1 - hits), tier)
            out.time("epsilon.cache", "latency_seconds", latency_s * slow, tier)
            out.ratio("epsilon.cache", "capacity_utilization_ratio", used, tier)
            out.count("epsilon.cache", "evictions_total", 0.3 + 4 * self.stale, tier)
            out.gauge("epsilon.cache", "compression_ratio", 2.8 - 0.6 * self.stale, tier)
            out.state("epsilon.health", "tier_status", status, tier)
            out.count("epsilon.policy", "expirations_total", 0.4 + 8 * self.stale, tier)
            world.second.slower("cache_lookup", slow, "tier", tier)
            missed *= 1 - hits
        world.hit_ratio = 1 - missed
        world.stale = self.stale
        out.ratio("epsilon.cache", "hit_ratio", world.hit_ratio)
        out.ratio("epsilon.cache", "stale_ratio", 0.01 + 0.6 * self.stale)
        for purpose, share in PURPOSES.items():
            boost = world.warmth if purpose == "warm_up" else 1 - world.throttle["alpha_beta"]
            out.count("epsilon.cache", "lookups_total", asked * share * max(0.05, boost), purpose)
        self._keep(world, missed)

    def _keep(self, world: World, missed: float) -> None:
        out = world.out
        out.gauge("epsilon.replication", "replication_lag_seconds", 0.05 * (1 + 12 * self.stale))
        out.ratio("epsilon.replication", "consistency_ratio", 0.995 - 0.25 * self.stale)
        in_use = POOL_SIZE * min(1.0, 0.3 * (1 + 2 * self.stale))
        out.gauge("epsilon.health", "pool_connections_in_use", in_use)
        before = self.breaker.state
        if self.breaker.step(self.stale):
            place, about = ("EPSILON", "cache"), ("tier", "distributed")
            world.tell_circuit(self.breaker, place, about, before, missed * world.rate)
        out.state("epsilon.health", "breaker_state", self.breaker.state)
        out.ratio("epsilon.policy", "ttl_effectiveness_ratio", 0.9 - 0.6 * self.stale)
        out.ratio("epsilon.policy", "eviction_hit_ratio", 0.08 + 0.4 * self.stale)
        out.count("epsilon.policy", "promotions_total", 1.5 * (1 - 0.6 * self.stale))
        out.count("epsilon.policy", "demotions_total", 1.2 * (1 + 2 * self.stale))
        out.count("epsilon.warm_up", "entries_loaded_total", 20 * self.warmth)
        slow = 1 + 2 * (1 - self.warmth)
        out.time("epsilon.warm_up", "warm_up_duration_seconds", 0.06 * slow)
        world.second.slower("cache_warm_up", slow)
