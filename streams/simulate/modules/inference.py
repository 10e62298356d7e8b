"""The inference pipeline's model: requests, features, model versions, scoring, answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from streams.simulate.behaviour import FEATURE_SETS, MODEL_VERSION
from streams.simulate.faults import (
    CACHE_STALE,
    FEATURE_DRIFT,
    SLOW_DEPENDENCY,
    WRONG_MODEL_VERSION,
    Fault,
)
from streams.simulate.modules.parts import Breaker, Knobs, Passage, Queue, Recorder, Second
from streams.simulate.modules.world import World

MODEL_VERSIONS: Final = ("v7", "v8")
RELEASED: Final = MODEL_VERSION
LOOKUP_S: Final = 0.012
SLOWDOWN: Final = 22.0
TIMEOUT_S: Final = 0.25
REFRESHED_EVERY_S: Final = 60.0
INFERENCE_S: Final = {"v7": 0.045, "v8": 0.22}
QUEUE_SECONDS: Final = 1.5
NEEDS_S: Final = 0.12
"""What a request usually takes of a worker."""


@dataclass
class _Features:
    """How FEATURES stands, in one second.

    Attributes:
        staleness: part of the features that are too old.
        drift: how far the input has moved.
        fell_back: share of the requests without some feature set.
        seconds: that lookups take of a request.
    """

    staleness: float = 0.0
    drift: float = 0.0
    fell_back: float = 0.0
    seconds: float = LOOKUP_S


@dataclass
class InferenceModel:
    """Makes the seconds of the inference pipeline, in their order.

    Attributes:
        seed: of load and noise.
        rate: requests a second that are normal.
    """

    seed: str
    rate: float
    queue: Queue = field(default_factory=lambda: Queue(1.0))
    stale: float = 0.0
    age_s: float = REFRESHED_EVERY_S / 2
    wrong: float = 0.0
    breakers: dict[str, Breaker] = field(
        default_factory=lambda: {name: Breaker() for name in FEATURE_SETS}
    )

    def __post_init__(self) -> None:
        self._world = World(self.rate, Recorder(f"{self.seed}/noise"))

    def step(self, number: int, at_us: int, faults: Sequence[Fault]) -> Second:
        """Return the next second; see `PipelineModel`."""
        world = self._world
        world.out.begin(number)
        world.knobs = Knobs(faults, at_us)
        load = Random(f"{self.seed}/load/{number}").lognormvariate(0.0, 0.06)
        asked = self.rate * load
        features = self._look_up(world, asked)
        self._transform(world, features)
        share = self._route(world, asked)
        needs_s = features.seconds + sum(INFERENCE_S[v] * s for v, s in share.items()) + 0.063
        self.queue.capacity = QUEUE_SECONDS * self.rate
        passage = self.queue.step(asked, 1.6 * self.rate * NEEDS_S / needs_s)
        self._score(world, passage.served, share, features)
        world.out.count("gateway.request", "rate_limited_total", passage.dropped + 0.01)
        self._answer(world, asked, passage, needs_s, features)
        return world.second

    def _look_up(self, world: World, asked: float) -> _Features:
        out = world.out
        wrong = world.knobs.on(CACHE_STALE)
        self.stale += 0.5 * (wrong - self.stale)
        # Where the refresh stands still, age grows by a second a second, else it comes back.
        self.age_s += 6.0 if wrong else 0.5 * (REFRESHED_EVERY_S / 2 - self.age_s)
        hit_ratio = 0.9 * (1 - 0.6 * self.stale)
        out.ratio("features.store", "cache_hit_ratio", hit_ratio)
        found = _Features(self.stale, world.knobs.on(FEATURE_DRIFT), 0.0, 0.0)
        for name in FEATURE_SETS:
            slow = world.knobs.on(SLOW_DEPENDENCY, name)
            miss = (1 - hit_ratio) / 0.1
            seconds = LOOKUP_S * (0.7 + 0.3 * miss) * (1 + (SLOWDOWN - 1) * slow)
            late = min(0.7, max(0.0, (seconds - 0.6 * TIMEOUT_S) / (0.6 * TIMEOUT_S)))
            breaker, before = self.breakers[name], self.breakers[name].state
            if breaker.step(late):
                place, about = ("FEATURES", "store"), ("feature_set", name)
                world.tell_circuit(breaker, place, about, before, asked)
            lost = 1.0 if breaker.is_open else late
            out.time("features.store", "lookup_seconds", seconds, name)
            out.state("features.store", "breaker_state", breaker.state, name)
            out.gauge("features.store", "feature_age_seconds", self.age_s, name)
            out.ratio("features.store", "stale_ratio", 0.01 + 0.7 * self.stale, name)
            out.count("features.store", "missing_values_total", asked * (0.004 + lost), name)
            found.fell_back = max(found.fell_back, lost)
            found.seconds += (0.002 if breaker.is_open else seconds) / len(FEATURE_SETS)
            if slow and not breaker.is_open:
                world.second.slower("feature_lookup", 25.0, "feature_set", name)
                world.second.fail("feature_lookup", 0.5 * late, "feature_set", name)
        world.second.slower("feature_lookup", 1 + 3 * self.stale)
        return found

    def _transform(self, world: World, features: _Features) -> None:
        out = world.out
        trouble = world.trouble("FEATURES", "transform")
        drift = features.drift
        for name in FEATURE_SETS:
            is_hit = world.knobs.on(FEATURE_DRIFT, name)
            index = 0.03 + 0.5 * is_hit + 0.08 * features.staleness
            out.gauge("features.transform", "population_stability_index", index, name)
            out.gauge("features.transform", "mean_shift_sigma", 0.1 + 1.8 * is_hit, name)
            out.ratio("features.transform", "out_of_range_ratio", 0.005 + 0.12 * is_hit, name)
        slow = trouble.slow * (1 + 0.4 * drift)
        out.time("features.transform", "transform_seconds", 0.02 * slow)

    def _route(self, world: World, asked: float) -> dict[str, float]:
        """Return which share of the requests each version answers."""
        out = world.out
        wrong = world.knobs.on(WRONG_MODEL_VERSION)
        was = self.wrong
        self.wrong += 0.6 * (0.9 * wrong - self.wrong)
        share = {version: self.wrong for version in MODEL_VERSIONS}
        share[RELEASED] = 1 - self.wrong
        for version in MODEL_VERSIONS:
            out.ratio("model.registry", "version_share", share[version], version)
            loads = 0.02 + (1.0 if version != RELEASED and wrong and was < 0.01 else 0.0) * 3
            out.count("model.registry", "loads_total", loads, version)
        if wrong and was < 0.01:
            told = {"model_version": MODEL_VERSIONS[-1]}
            world.tell("MODEL", "registry", "model_version_mismatch", "ERROR", told)
        mismatches = asked * self.wrong + 0.01
        out.count("model.registry", "version_mismatches_total", mismatches)
        out.time("model.registry", "load_seconds", 1.5 * (1 + 2 * self.wrong))
        out.ratio("model.registry", "memory_used_ratio", 0.4 + 0.35 * self.wrong)
        world.second.slower("model_routing", 1 + 2 * self.wrong)
        if self.wrong > 0.01:
            for stage in ("model_routing", "scoring"):
                world.second.says[stage, "model_version"] = (MODEL_VERSIONS[-1], self.wrong)
        return share

    def _score(
        self, world: World, served: float, share: dict[str, float], features: _Features
    ) -> None:
        out = world.out
        trouble = world.trouble("SCORING", "scorer")
        spent = 0.0
        for version in MODEL_VERSIONS:
            seconds = INFERENCE_S[version] * trouble.slow
            out.count("scoring.scorer", "predictions_total", served * share[version], version)
            out.time("scoring.scorer", "inference_seconds", seconds, version)
            spent += seconds * share[version]
        slow = spent / INFERENCE_S[RELEASED]
        out.ratio("scoring.scorer", "utilization_ratio", min(0.97, 0.45 * slow))
        timeouts = served * (0.001 + trouble.fails + 0.1 * share[MODEL_VERSIONS[-1]])
        out.count("scoring.scorer", "timeouts_total", timeouts)
        # What the model knows less well it says less surely, and gets wrong more often.
        doubt = (
            0.25 * features.drift
            + 0.15 * features.staleness
            + 0.3 * share[MODEL_VERSIONS[-1]]
            + 0.2 * features.fell_back
        )
        out.ratio("scoring.scorer", "confidence_mean", 0.86 * (1 - doubt))
        out.ratio("scoring.scorer", "positive_ratio", 0.12 * (1 + 2.5 * doubt))
        out.ratio("scoring.scorer", "calibration_error", 0.03 + 0.35 * doubt)
        out.ratio("scoring.scorer", "accuracy_ratio", 0.93 * (1 - 0.5 * doubt))
        world.second.slower("scoring", min(4.0, slow / trouble.slow))

    def _answer(
        self, world: World, asked: float, passage: Passage, needs_s: float, features: _Features
    ) -> None:
        out, wait_s, refused = world.out, passage.wait_s, passage.dropped
        out.count("gateway.request", "requests_total", asked - refused)
        out.gauge("gateway.request", "queue_depth", self.queue.level + 0.1 * asked)
        out.time("gateway.request", "queue_wait_seconds", 0.01 + wait_s)
        out.time("gateway.response", "request_latency_seconds", needs_s + wait_s)
        given = asked * (1 - 0.3 * features.fell_back)
        out.count("gateway.response", "responses_total", given)
        out.count("gateway.response", "fallback_responses_total", asked - given + 0.02)
        scoring = world.trouble("SCORING", "scorer").fails
        errors = {
            "Feature": asked * (0.001 + 0.4 * features.fell_back),
            "Model": asked * (0.001 + 0.1 * self.wrong + scoring),
            "Timeout": asked * (0.001 + 0.2 * min(1.0, wait_s)),
        }
        for category, count in errors.items():
            out.count("gateway.response", "errors_total", count, category)
        world.second.slower("request", 1 + min(15.0, 8 * wait_s))
