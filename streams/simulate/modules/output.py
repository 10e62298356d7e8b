"""GAMMA: rendering, routing, delivery behind breakers, acknowledgments, the dead-letter queue."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.behaviour import ACK_PATTERNS, FORMATS
from streams.simulate.faults import BACK_PRESSURE, DEAD_LETTER_GROWTH, DESTINATION_DOWN
from streams.simulate.modules.parts import Breaker, Queue
from streams.simulate.modules.world import World

RENDER_S: Final = {"JSON": 0.02, "XML": 0.033, "CSV": 0.02, "Avro": 0.025, "Parquet": 0.04}
DELIVERY_S: Final = {
    "partner_api": 0.09,
    "crm": 0.08,
    "event_bus": 0.03,
    "search_index": 0.05,
    "warehouse": 0.12,
}
ACK_S: Final = {"sync": 0.025, "async": 0.045, "batch": 0.06}
RENDER_SLOWDOWN: Final = 6.0
QUEUE_SECONDS: Final = 4.0
FAILED_RATIO: Final = 0.004
REPLAYED_RATIO: Final = 0.5
"""Part of the dead-letter queue that is replayed in a second."""
EXPIRES_AFTER_S: Final = 6.0


@dataclass
class Output:
    """GAMMA's state: its rendering queue, a breaker a destination, and the dead letters."""

    queue: Queue = field(default_factory=lambda: Queue(1.0))
    breakers: dict[str, Breaker] = field(
        default_factory=lambda: {name: Breaker(opens_at=0.6) for name in ACK_PATTERNS}
    )
    letters: float = 1.0
    letter_age_s: float = 1.0

    def step(self, world: World) -> None:
        """Render and deliver one second of BETA's records."""
        rendered = self._render(world)
        delivered, failed = self._deliver(world, rendered)
        self._acknowledge(world, delivered)
        self._keep_dead_letters(world, failed)
        world.delivered = sum(delivered.values())

    def _render(self, world: World) -> float:
        out = world.out
        trouble = world.trouble("GAMMA", "rendering")
        starved = world.knobs.on(BACK_PRESSURE)
        slow = trouble.slow * (1 + (RENDER_SLOWDOWN - 1) * starved)
        self.queue.capacity = QUEUE_SECONDS * world.rate
        passage = self.queue.step(world.to_gamma, 2.0 * world.rate / slow)
        per_format = passage.served / len(FORMATS)
        for name in FORMATS:
            errors = per_format * (0.001 + trouble.fails)
            out.time("gamma.rendering", "render_duration_seconds", RENDER_S[name] * slow, name)
            out.count("gamma.rendering", "records_rendered_total", per_format - errors, name)
            out.count("gamma.rendering", "render_errors_total", errors, name)
        out.gauge("gamma.rendering", "queue_depth", self.queue.level + 0.1 * world.to_gamma)
        used = min(1.0, passage.served / (2.0 * world.rate / slow))
        out.ratio("gamma.rendering", "pool_utilization_ratio", used)
        world.second.slower("rendering", 1 + 5 * starved)
        world.second.slower("transfer_beta_gamma", 1 + min(20.0, 12 * passage.wait_s))
        world.gamma_wait_s = passage.wait_s
        return passage.served

    def _deliver(self, world: World, rendered: float) -> tuple[dict[str, float], float]:
        """Return the records delivered by destination, and those that failed for good."""
        out = world.out
        routing = world.trouble("GAMMA", "routing")
        delivery = world.trouble("GAMMA", "delivery")
        out.time("gamma.routing", "routing_duration_seconds", 0.005 * routing.slow)
        delivered, failed = {}, 0.0
        for name in ACK_PATTERNS:
            down = world.knobs.on(DESTINATION_DOWN, name)
            breaker, before = self.breakers[name], self.breakers[name].state
            error_ratio = min(1.0, FAILED_RATIO + 0.9 * down + delivery.fails)
            routed = rendered / len(ACK_PATTERNS) * (1 - routing.fails)
            changed = breaker.step(error_ratio)
            if changed:
                about, place = ("destination", name), ("GAMMA", "delivery")
                world.tell_circuit(breaker, place, about, before, routed)
            held = 1.0 if breaker.is_open else error_ratio
            refused = rendered / len(ACK_PATTERNS) - routed + 0.5 * routed * breaker.is_open
            latency_s = DELIVERY_S[name] * (1 + 6 * down) * delivery.slow
            out.count("gamma.routing", "routing_decisions_total", routed, name)
            out.count("gamma.routing", "routing_rejections_total", refused + 0.02, name)
            out.time("gamma.delivery", "delivery_latency_seconds", latency_s, name)
            out.count("gamma.delivery", "records_delivered_total", routed * (1 - held), name)
            out.ratio("gamma.delivery", "success_ratio", 1 - held, name)
            out.count("gamma.delivery", "delivery_errors_total", routed * held, name)
            retried = routed * error_ratio * (0.2 if breaker.is_open else 1.0)
            out.count("gamma.delivery", "delivery_retries_total", retried, name)
            out.state("gamma.delivery", "breaker_state", breaker.state, name)
            timeouts = routed * (0.001 + 0.5 * error_ratio * (error_ratio > FAILED_RATIO))
            out.count("gamma.acknowledgment", "ack_timeouts_total", timeouts, name)
            if down:
                world.second.fail("delivery", 0.9, "destination", name)
                world.second.slower("delivery", 4.0, "destination", name)
            delivered[name] = routed * (1 - held)
            failed += routed * held
        slow_s = world.beta_wait_s + world.gamma_wait_s
        out.time("gamma.delivery", "end_to_end_seconds", 0.55 + slow_s)
        return delivered, failed

    def _acknowledge(self, world: World, delivered: dict[str, float]) -> None:
        out = world.out
        trouble = world.trouble("GAMMA", "acknowledgment")
        by_pattern = dict.fromkeys(ACK_S, 0.0)
        for name, count in delivered.items():
            by_pattern[ACK_PATTERNS[name]] += count
        down = world.knobs.on(DESTINATION_DOWN)
        for pattern, count in by_pattern.items():
            is_hit = any(
                world.knobs.on(DESTINATION_DOWN, name) for name in ACK_PATTERNS
                if ACK_PATTERNS[name] == pattern
            )  # fmt: skip
            latency_s = ACK_S[pattern] * (1 + 2 * is_hit) * trouble.slow
            out.time("gamma.acknowledgment", "ack_latency_seconds", latency_s, pattern)
            out.count("gamma.acknowledgment", "acknowledgments_total", count, pattern)
        pending = world.rate * (0.05 + 0.4 * down)
        out.gauge("gamma.acknowledgment", "pending_acknowledgments", pending)

    def _keep_dead_letters(self, world: World, failed: float) -> None:
        out, stuck = world.out, world.knobs.on(DEAD_LETTER_GROWTH)
        # Where the fault is the replayer, letters come as ever and nobody takes them out.
        entries = failed + 0.02 * world.rate * (1 + 4 * stuck)
        replayed = REPLAYED_RATIO * self.letters * (1 - 0.95 * stuck)
        expired = 0.05 * self.letters * (self.letter_age_s > EXPIRES_AFTER_S)
        self.letters = max(0.1, self.letters + entries - replayed - expired)
        self.letter_age_s += (self.letters / max(replayed, 0.05) / 2 - self.letter_age_s) * 0.3
        share = entries / len(ACK_PATTERNS)
        for name in ACK_PATTERNS:
            down = world.knobs.on(DESTINATION_DOWN, name)
            lost = share if not down else entries
            out.count("gamma.dead_letter_queue", "entries_total", lost, name)
        out.gauge("gamma.dead_letter_queue", "queue_depth", self.letters)
        out.gauge("gamma.dead_letter_queue", "oldest_age_seconds", 2 * self.letter_age_s)
        out.time("gamma.dead_letter_queue", "age_seconds", self.letter_age_s)
        out.count("gamma.dead_letter_queue", "replay_attempts_total", replayed)
        good = replayed * (1 - 0.8 * (failed > 0.05 * world.rate))
        out.count("gamma.dead_letter_queue", "replays_succeeded_total", good)
        out.count("gamma.dead_letter_queue", "expired_total", expired + 0.002)
        world.second.slower("dead_letter", 1 + 10 * stuck)
