"""ALPHA: connections to the sources, parser, validation, and the buffer towards BETA."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.behaviour import SOURCE_SYSTEMS
from streams.simulate.faults import BUFFER_FULL, CONFIG_CHANGE, MALFORMED_SOURCE, SCHEMA_DRIFT
from streams.simulate.modules.parts import HIGH_WATERMARK, Passage, Queue
from streams.simulate.modules.world import World

POOL_SIZE: Final = 32
POOL_SIZE_WRONG: Final = 6
"""What a wrong configuration makes of it."""
IDLE_TIMEOUT_S: Final = 30.0
IDLE_TIMEOUT_WRONG_S: Final = 2.0
CONNECT_S: Final = 0.012
MALFORMED_RATIO: Final = 0.002
INVALID_RATIO: Final = 0.002
BUFFER_SECONDS: Final = 4.0
"""How many seconds of normal load the buffer holds."""


@dataclass
class Ingestion:
    """ALPHA's state: a buffer, and what the last second let through."""

    buffer: Queue = field(default_factory=lambda: Queue(1.0))
    memory: float = 0.35
    malformed: float = 0.0
    drifted: dict[str, bool] = field(default_factory=dict)

    def step(self, world: World) -> None:
        """Take in one second of the sources; leave what goes on in `world.to_beta`."""
        offered = {s: world.rate / len(SOURCE_SYSTEMS) * world.load(s) for s in SOURCE_SYSTEMS}
        refused = self._connect(world, sum(offered.values()))
        valid = 0.0
        errors = {"Connection": 0.0, "Parse": 0.0, "Validation": 0.0}
        errors["Connection"] = 0.001 * world.rate
        self.malformed = 0.0
        for source, count in offered.items():
            valid += self._read(world, source, count * (1 - refused), errors)
        self._validate(world, offered, valid)
        passage = self._hold(world, valid)
        errors["Buffer Overflow"] = passage.dropped
        errors["Resource Exhaustion"] = refused * sum(offered.values())
        for category, count in errors.items():
            world.out.count("alpha.error_log", "errors_total", count, category)
        target = 0.3 + 0.5 * self.buffer.fill
        self.memory += 0.5 * (target - self.memory)
        world.out.ratio("alpha.resources", "memory_used_ratio", self.memory)
        world.to_beta = passage.served

    def _connect(self, world: World, offered: float) -> float:
        """Return the share of the connections that the pool has to refuse."""
        out, wrong = world.out, world.knobs.on(CONFIG_CHANGE)
        size = POOL_SIZE_WRONG if wrong else POOL_SIZE
        idle_s = IDLE_TIMEOUT_WRONG_S if wrong else IDLE_TIMEOUT_S
        demand = 12.0 * offered / world.rate
        refused = max(0.0, 1 - size / demand)
        wait = 1 + 12 * refused
        out.state("alpha.connection", "pool_size", size)
        out.gauge("alpha.connection", "pool_connections_in_use", min(size, demand))
        out.state("alpha.connection", "idle_timeout_seconds", idle_s)
        out.count("alpha.connection", "idle_timeouts_total", 3.0 / idle_s)
        for source in SOURCE_SYSTEMS:
            asking = offered / len(SOURCE_SYSTEMS) * world.load(source)
            received = asking * (1 - refused)
            out.count("alpha.connection", "records_received_total", received, source)
            out.count("alpha.connection", "connection_errors_total", refused * asking, source)
            out.time("alpha.connection", "connect_latency_seconds", CONNECT_S * wait, source)
        world.second.slower("connection", wait)
        world.second.fail("connection", refused)
        return refused

    def _read(self, world: World, source: str, count: float, errors: dict[str, float]) -> float:
        """Parse and validate one source's records; return how many are good."""
        out, knobs = world.out, world.knobs
        malformed = max(MALFORMED_RATIO, 0.5 * knobs.on(MALFORMED_SOURCE, source))
        drift = knobs.on(SCHEMA_DRIFT, source)
        fails = world.trouble("ALPHA", "validation").fails
        invalid = max(INVALID_RATIO, 0.3 * drift, fails)
        self.malformed += malformed / len(SOURCE_SYSTEMS)
        parsed = count * (1 - malformed)
        out.count("alpha.parser", "records_parsed_total", parsed, source)
        out.count("alpha.parser", "parse_errors_total", count * malformed, source)
        out.ratio("alpha.parser", "malformed_ratio", malformed, source)
        out.count("alpha.validation", "records_validated_total", parsed, source)
        out.count("alpha.validation", "validation_failures_total", parsed * invalid, source)
        is_new = bool(drift) and not self.drifted.get(source)
        out.count("alpha.validation", "schema_changes_total", 3.2 * is_new, source)
        if is_new:
            named = {"source_system": source}
            world.tell("ALPHA", "validation", "schema_changed", "WARN", named)
        self.drifted[source] = bool(drift)
        errors["Parse"] += count * malformed
        errors["Validation"] += parsed * invalid
        if malformed > MALFORMED_RATIO:
            world.second.fail("parser", malformed, "source_system", source)
        if drift:
            world.second.fail("validation", invalid, "source_system", source)
        world.drift[source] = drift
        return parsed * (1 - invalid)

    def _validate(self, world: World, offered: dict[str, float], valid: float) -> None:
        out = world.out
        drift = max(world.drift.values())
        total = sum(offered.values())
        # What cannot be parsed is tried with every dialect before it is given up.
        tried = 1 + 4 * self.malformed
        out.time("alpha.parser", "parse_duration_seconds", 0.008 * tried)
        world.second.slower("parser", tried)
        out.ratio("alpha.validation", "error_rate", 1 - valid / total)
        trouble = world.trouble("ALPHA", "validation")
        slow = (1 + 0.6 * drift) * trouble.slow
        out.time("alpha.validation", "validation_duration_seconds", 0.010 * slow)
        world.second.slower("validation", 1 + 0.6 * drift)

    def _hold(self, world: World, arriving: float) -> Passage:
        """Pass records on through the buffer, as fast as BETA lets it."""
        out, stalled = world.out, world.knobs.on(BUFFER_FULL)
        self.buffer.capacity = BUFFER_SECONDS * world.rate * (1 - 0.5 * stalled)
        drain = 1.6 * world.rate * (1 - world.throttle["alpha_beta"]) * (1 - 0.7 * stalled)
        passage = self.buffer.step(arriving, drain)
        depth = self.buffer.level + 0.04 * arriving
        out.state("alpha.buffer", "buffer_capacity", self.buffer.capacity)
        out.state("alpha.buffer", "buffer_high_watermark", HIGH_WATERMARK * self.buffer.capacity)
        out.gauge("alpha.buffer", "buffer_depth", depth)
        out.ratio("alpha.buffer", "buffer_utilization_ratio", depth / self.buffer.capacity)
        out.count("alpha.buffer", "high_watermark_crossings_total", 1.01 * self.buffer.crossings)
        out.count("alpha.buffer", "overflows_total", passage.dropped)
        out.time("alpha.buffer", "buffer_wait_seconds", 0.04 + passage.wait_s)
        world.second.slower("buffer", 1 + min(14.0, 8 * passage.wait_s))
        world.second.fail("buffer", passage.dropped / max(arriving, 1e-9))
        return passage
