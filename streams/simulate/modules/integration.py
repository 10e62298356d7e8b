"""INTEGRATION: batches between modules, back-pressure, the circuit of each hop, cascaded health."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.faults import BREAKER_OPEN
from streams.simulate.modules.parts import Breaker
from streams.simulate.modules.world import World

HOPS: Final = ("alpha_beta", "beta_gamma")
BATCH_SIZE: Final = 16.0
BREAKER_HOP: Final = "beta_gamma"
"""The hop whose circuit the fault opens by mistake."""
ERROR_CATEGORIES: Final = (
    "Connection",
    "Parse",
    "Validation",
    "Buffer Overflow",
    "Resource Exhaustion",
)


@dataclass
class Integration:
    """INTEGRATION's state: by hop a breaker, and whether back-pressure is on."""

    breakers: dict[str, Breaker] = field(
        default_factory=lambda: {hop: Breaker(opens_at=0.9) for hop in HOPS}
    )
    pressing: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(HOPS, False))
    before: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HOPS, 0.0))

    def step(self, world: World, fills: dict[str, float], full: dict[str, bool]) -> None:
        """Hand over one second of batches; leave what each hop holds back in the next one.

        Args:
            world: the second.
            fills: by hop, how full the queue at its far end is, 0 to 1.
            full: by hop, whether that queue is over its watermark.
        """
        flows = {"alpha_beta": world.to_beta, "beta_gamma": world.to_gamma}
        changes = {hop: self._switch(world, hop, flows[hop]) for hop in HOPS}
        for hop in HOPS:
            self._hand_over(world, hop, flows[hop], fills[hop])
            self._press(world, hop, fills[hop], is_full=full[hop])
            out, breaker = world.out, self.breakers[hop]
            impact = world.rate if breaker.is_open else flows[hop] * 0.01
            out.count("integration.circuit_breaker", "state_changes_total", changes[hop], hop)
            place = "integration.circuit_breaker"
            out.gauge(place, "predicted_impact_records_per_second", impact, hop)
        open_ = sum(breaker.is_open for breaker in self.breakers.values())
        world.out.state("integration.circuit_breaker", "open_circuits", open_)
        errors = dict.fromkeys(ERROR_CATEGORIES, 0.02)
        errors["Connection"] += world.rate * open_
        errors["Validation"] += 0.05 * world.rate * max(world.drift.values())
        errors["Buffer Overflow"] += world.rate * max(fills.values()) ** 4
        errors["Resource Exhaustion"] += 0.5 * errors["Buffer Overflow"]
        for category, count in errors.items():
            world.out.count("integration.error_log", "errors_total", count, category)

    def _switch(self, world: World, hop: str, flow: float) -> float:
        breaker = self.breakers[hop]
        before = breaker.state
        is_forced = hop == BREAKER_HOP and world.knobs.on(BREAKER_OPEN) > 0
        if not breaker.step(0.0, is_forced=is_forced):
            return 0.0
        place, about = ("INTEGRATION", "circuit_breaker"), ("hop", hop)
        world.tell_circuit(breaker, place, about, before, max(flow, world.rate))
        return 1.01

    def _hand_over(self, world: World, hop: str, flow: float, fill: float) -> None:
        out = world.out
        is_open = self.breakers[hop].is_open
        slow = 1 + 8 * fill + 6 * is_open
        size = BATCH_SIZE * min(2.0, 0.2 + 0.8 * flow / world.rate)
        out.time("integration.transfer", "batch_size", size, hop)
        out.time("integration.transfer", "transfer_latency_seconds", 0.03 * slow, hop)
        out.count("integration.transfer", "batches_total", flow / BATCH_SIZE, hop)
        lost = world.rate / BATCH_SIZE * (0.002 + is_open)
        out.count("integration.transfer", "transfer_errors_total", lost, hop)
        out.gauge("integration.transfer", "records_in_flight", flow * 0.03 * slow, hop)
        out.time("integration.acknowledgment", "ack_latency_seconds", 0.02 * slow, hop)
        if is_open:
            world.second.fail(f"transfer_{hop}", 0.8)
            world.second.slower(f"transfer_{hop}", 8.0)

    def _press(self, world: World, hop: str, fill: float, *, is_full: bool) -> None:
        out = world.out
        was_on, is_on = self.pressing[hop], is_full or self.breakers[hop].is_open
        self.pressing[hop] = is_on
        # A full queue takes what it can serve and no more; an open circuit takes next to nothing.
        held = 0.9 if self.breakers[hop].is_open else 0.75 * is_on
        world.throttle[hop] = held
        out.state("integration.back_pressure", "signal_active", is_on, hop)
        signals = 1.01 * (is_on and not was_on)
        out.count("integration.back_pressure", "signals_total", signals, hop)
        out.ratio("integration.back_pressure", "throttle_ratio", held, hop)
        if is_on != was_on:
            name = "back_pressure_on" if is_on else "back_pressure_off"
            severity = "WARN" if is_on else "INFO"
            place, value = ("INTEGRATION", "back_pressure"), held * world.rate
            world.tell(*place, name, severity, {"hop": hop}, value, "records/s")
        flow = world.to_beta if hop == "alpha_beta" else world.to_gamma
        out.ratio("integration.health", "throughput_ratio", min(1.0, 0.95 * flow / world.rate), hop)
        rise = fill - self.before[hop]
        self.before[hop] = fill
        until = 600.0 if rise <= 0.01 else min(600.0, (1 - fill) / rise)
        out.gauge("integration.health", "time_to_threshold_seconds", until, hop)
