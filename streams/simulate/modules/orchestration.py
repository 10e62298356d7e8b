"""PHI: scheduler, dependencies, executor slots, retries and checkpoints of jobs."""

from dataclasses import dataclass, field
from typing import Final

from streams.simulate.behaviour import JOB_KINDS
from streams.simulate.faults import QUEUE_BACKLOG, RETRY_STORM
from streams.simulate.modules.parts import Breaker, Queue
from streams.simulate.modules.world import World

RECORDS_PER_JOB: Final = 12
SLOTS: Final = 8
PRIORITIES: Final = {"high": 0.2, "normal": 0.5, "low": 0.3}
OUTCOMES: Final = ("triggered", "deferred", "skipped")
FAILED_RATIO: Final = 0.01


@dataclass
class Orchestration:
    """PHI's state: jobs that wait for a slot, jobs given up, and the breaker of jobs."""

    queue: Queue = field(default_factory=lambda: Queue(1.0))
    breaker: Breaker = field(default_factory=lambda: Breaker(opens_at=0.5))
    given_up: float = 0.2
    retrying: float = 0.0

    def step(self, world: World) -> None:
        """Schedule and run one second of jobs; leave how warm they keep the cache."""
        jobs = world.rate / RECORDS_PER_JOB
        stuck, storm = world.knobs.on(QUEUE_BACKLOG), world.knobs.on(RETRY_STORM)
        trouble = world.trouble("PHI", "executor")
        fails = max(FAILED_RATIO, 0.6 * storm, trouble.fails)
        self.queue.capacity = 12 * jobs
        slots = SLOTS * (1 - 0.85 * stuck)
        # What failed is tried again at once: three tries a job where nobody backs off.
        self.retrying = jobs * fails * (1 + 5 * storm)
        passage = self.queue.step(jobs + 0.25 * self.retrying, 1.6 * jobs * slots / SLOTS)
        wait_s = min(10.0, passage.wait_s)
        self._schedule(world, jobs, wait_s, slots)
        self._resolve(world, jobs, wait_s)
        self._execute(world, passage.served, fails, slots)
        self._recover(world, fails, storm)
        world.warmth = 1 / (1 + 0.8 * wait_s)
        world.second.slower("schedule", 1 + min(30.0, 12 * wait_s))
        world.second.slower("dependency_resolution", 1 + min(20.0, 6 * wait_s))
        world.second.fail("execution", fails - FAILED_RATIO)

    def _schedule(self, world: World, jobs: float, wait_s: float, slots: float) -> None:
        out = world.out
        late = wait_s / (1 + wait_s)
        for kind in JOB_KINDS:
            triggered = jobs * (1 - 0.6 * late) / len(JOB_KINDS)
            out.count("phi.scheduler", "triggers_total", triggered, kind)
        for outcome, share in zip(
            OUTCOMES, (1 - 0.6 * late, 0.05 + 0.5 * late, 0.05 + 0.1 * late), strict=True
        ):
            out.count("phi.scheduler", "evaluations_total", 4 * jobs * share, outcome)
        for priority, share in PRIORITIES.items():
            waiting = self.queue.level * (share if priority != "low" else 1.5 * share)
            out.gauge("phi.scheduler", "queue_depth", waiting + 1.0 * share, priority)
        out.time("phi.scheduler", "schedule_delay_seconds", 0.02 + 0.5 * wait_s)
        out.ratio("phi.scheduler", "schedule_accuracy_ratio", 0.98 / (1 + wait_s))
        out.time("phi.scheduler", "queue_wait_seconds", 0.05 + wait_s)
        out.time("phi.scheduler", "evaluation_duration_seconds", 0.004 * (1 + late))
        out.time("phi.scheduler", "trigger_latency_seconds", 0.015 + 0.2 * wait_s)
        out.gauge("phi.scheduler", "allocated_slots", slots)

    def _resolve(self, world: World, jobs: float, wait_s: float) -> None:
        out = world.out
        failed = min(0.5, 0.01 + 0.05 * wait_s)
        out.time("phi.dependency", "resolution_seconds", 0.04 * (1 + 3 * wait_s))
        out.count("phi.dependency", "resolutions_total", jobs * (1 - failed))
        out.count("phi.dependency", "resolution_failures_total", jobs * failed)
        out.ratio("phi.dependency", "success_ratio", 1 - failed)

    def _execute(self, world: World, started: float, fails: float, slots: float) -> None:
        out = world.out
        trouble = world.trouble("PHI", "executor")
        for kind in JOB_KINDS:
            share = started / len(JOB_KINDS)
            out.count("phi.executor", "jobs_started_total", share, kind)
            out.count("phi.executor", "jobs_completed_total", share * (1 - fails), kind)
            out.count("phi.executor", "job_failures_total", share * fails, kind)
            out.time("phi.executor", "run_seconds", 0.25 * trouble.slow, kind)
        busy = min(slots, 0.4 * SLOTS + self.queue.level)
        out.gauge("phi.executor", "slots_in_use", busy)

    def _recover(self, world: World, fails: float, storm: float) -> None:
        out = world.out
        good = self.retrying * (1 - fails)
        out.count("phi.recovery", "retries_total", good, "succeeded")
        out.count("phi.recovery", "retries_total", self.retrying - good, "failed")
        backoff_s = 2.0 if not storm else 0.1
        out.time("phi.recovery", "backoff_seconds", backoff_s)
        dead = self.retrying * fails * 0.3
        self.given_up = 0.8 * self.given_up + dead + 0.04
        out.count("phi.recovery", "dead_lettered_jobs_total", dead + 0.01)
        out.gauge("phi.recovery", "dead_letter_age_seconds", 5 + 10 * self.given_up)
        out.count("phi.recovery", "checkpoints_total", 0.5 * (1 + 2 * storm))
        out.time("phi.recovery", "checkpoint_seconds", 0.08 * (1 + storm))
        out.time("phi.recovery", "recovery_seconds", 0.4 * (1 + 3 * storm))
        before = self.breaker.state
        if self.breaker.step(fails):
            about, place = ("job_kind", "compaction"), ("PHI", "recovery")
            world.tell_circuit(self.breaker, place, about, before, self.retrying)
        out.state("phi.recovery", "breaker_state", self.breaker.state)
        world.second.slower("recovery", 1 + 3 * storm)
