"""Builds the tasks of a worker from its contract and settings."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.codec.assembled import TraceEncoder
from streams.codec.events import EventDecoder
from streams.codec.hashes import value_hash
from streams.codec.otlp.requests import KIND_WORDS, KINDS, METRICS, SPANS
from streams.codec.otlp.services import Place, Services
from streams.codec.profile import TELEMETRY_PROFILE, Profile, load_profile
from streams.codec.recalled import TraceReader
from streams.codec.records import decode_body
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating
from streams.contract.compile import compile_plan
from streams.contract.loader import load_contract
from streams.contract.model import Contract
from streams.contract.operations import compile_rules
from streams.core.columns import Operations
from streams.core.fidelity.plan import EMPTY
from streams.core.privacy.records import Privacy
from streams.core.signals.counts import SignalBounds
from streams.core.signals.series import SeriesBook
from streams.core.traces.links import Told, told_by
from streams.core.traces.opentraces import TraceBounds
from streams.core.traces.progress import ProgressSettings
from streams.core.traces.waits import WaitSettings
from streams.engine.join import JoinTask
from streams.engine.join_state import JoinSettings
from streams.errors import ConfigError
from streams.runtime import topics
from streams.runtime.cause_inputs import CauseInputs
from streams.runtime.join_runner import JoinRunner, OutputTopics
from streams.runtime.personal import privacy_of, untreated
from streams.runtime.runner import Runner
from streams.runtime.sources import sources_of
from streams.runtime.traces_out import TraceWriter
from streams.settings import WorkerSettings
from streams.state.shelf import Shelf
from streams.units import SECOND_US, U64

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True)
class Pipeline:
    """What the worker runs: contract, topics, profile.

    Attributes:
        telemetry: telemetry topics, in the contract's order; the last is the one for others.
        silent: indexes of telemetry topics that no trace waits for.
        otlp: what those of the telemetry topics hold whose messages are OTLP, by name.
        rekeyed: those of the telemetry topics whose events are placed anew before they are joined.
        privacy: what becomes of personal fields before anything is kept; None for nothing.
    """

    contract: Contract | None
    telemetry: tuple[str, ...]
    silent: tuple[int, ...]
    profile: Profile
    settings: WorkerSettings
    otlp: Mapping[str, str] = field(default_factory=dict)
    rekeyed: tuple[str, ...] = ()
    privacy: Privacy | None = None

    def derived(self, name: str) -> str:
        """Return the name of a derived topic in this deployment."""
        return self.settings.derived_prefix + name

    @property
    def events(self) -> tuple[str, ...]:
        """Names of the telemetry topics that hold our own events; none of a foreign schema."""
        if self.is_foreign:
            return ()
        foreign = {*self.otlp, *(self.telemetry[i] for i in self.silent)}
        return tuple(topic for topic in self.telemetry if topic not in foreign)

    @property
    def otlp_events(self) -> dict[str, str]:
        """What the topics of OTLP messages hold, by name, but for those of spans."""
        return {topic: kind for topic, kind in self.otlp.items() if kind != SPANS}

    @property
    def sent(self) -> tuple[str, ...]:
        """Names of the telemetry topics that others send to; what workers tell is in none."""
        own = {self.telemetry[i] for i in self.silent}
        return tuple(topic for topic in self.telemetry if topic not in own)

    @property
    def otlp_kinds(self) -> dict[int, str]:
        """What the topics of OTLP messages hold, by their index among the telemetry topics."""
        return {self.telemetry.index(topic): kind for topic, kind in self.otlp.items()}

    @property
    def internal(self) -> str:
        """Name of the topic of rekeyed events."""
        return self.derived(topics.REKEYED)

    @property
    def is_foreign(self) -> bool:
        """Whether spans of a foreign schema are joined; then nothing but traces is derived."""
        return self.profile.schema is not None


def load_pipeline(settings: WorkerSettings) -> Pipeline:
    """Read contract and profile.

    Raises:
        ConfigError: one of them is wrong; the message names line and fix.
    """
    contract = load_contract(settings.contract) if settings.contract else None
    profile = load_profile(settings.profile) if settings.profile else TELEMETRY_PROFILE
    # Classes are of our own fields: a foreign schema has none of them.
    privacy = privacy_of(contract, settings) if profile.schema is None else None
    otlp = otlp_topics(settings.otlp_topics)
    if settings.input_topics:
        for name, value in (("otlp_topics", otlp), ("rekey", settings.rekey)):
            if value:
                raise ConfigError(
                    f"{name} (SPANLOOM_{name.upper()}) and input_topics (SPANLOOM_INPUT_TOPICS) "
                    "exclude each other: leave one of them out"
                )
        return Pipeline(contract, settings.input_topics, (), profile, settings, privacy=privacy)
    for name, value in (("otlp_topics", otlp), ("rekey", settings.rekey)):
        if value and profile.schema is not None:
            raise ConfigError(
                f"{name} (SPANLOOM_{name.upper()}) needs events of our own schema beside it: leave "
                "profile (SPANLOOM_PROFILE) out"
            )
    named = contract.topics() if contract else ()
    telemetry = tuple(dict.fromkeys((*named, topics.OTHER)))
    if twice := sorted(otlp.keys() & {*telemetry, *topics.DERIVED, topics.REKEYED}):
        raise ConfigError(
            f"otlp_topics (SPANLOOM_OTLP_TOPICS): {twice[0]} holds events of ours; name the topic "
            "that the Collector's Kafka exporter writes"
        )
    sent = (*telemetry, *otlp)
    rekeyed = rekeyed_topics(settings.rekey, sent)
    telemetry = (*sent, settings.derived_prefix + topics.LINKS)
    silent = (len(telemetry) - 1,)
    return Pipeline(contract, telemetry, silent, profile, settings, otlp, rekeyed, privacy)


def rekeyed_topics(text: str, telemetry: Sequence[str]) -> tuple[str, ...]:
    """Return the topics that a setting names, in the order of the telemetry topics.

    Args:
        text: names separated by commas, or `all`.
        telemetry: the topics that are sent to.

    Raises:
        ConfigError: a name is none of them.
    """
    named = set(filter(None, map(str.strip, text.split(","))))
    if named == {"all"}:
        return tuple(telemetry)
    if strange := sorted(named - set(telemetry)):
        raise ConfigError(
            f"rekey (SPANLOOM_REKEY): {strange[0]!r} is no telemetry topic of this deployment: "
            f"name some of {', '.join(telemetry)}, or write all"
        )
    return tuple(topic for topic in telemetry if topic in named)


def otlp_topics(text: str) -> dict[str, str]:
    """Return what each of the topics holds that a setting lists: `spans`, `logs` or `metrics`.

    A topic's name tells it, as the names that OpenTelemetry's Kafka exporter gives do, or a kind
    and "=" before it.

    Raises:
        ConfigError: a name tells nothing, or stands there twice.
    """
    where = "otlp_topics (SPANLOOM_OTLP_TOPICS)"
    found: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        kind, equals, name = entry.partition("=")
        if not equals:
            name, told = entry, {k for word, k in KIND_WORDS.items() if word in entry.lower()}
            kind = told.pop() if len(told) == 1 else ""
        if kind not in KINDS or not _TOPIC.fullmatch(name):
            raise ConfigError(
                f"{where}: {entry!r} does not say what it holds: write spans=NAME, logs=NAME or "
                "metrics=NAME with the name of a topic"
            )
        if name in found:
            raise ConfigError(f"{where}: {name} is there twice; remove one")
        found[name] = kind
    return found


def services_of(contract: Contract | None) -> Services:
    """Return what finds the modules of OpenTelemetry's services."""
    if contract is None:
        return Services()
    listed = {name: Place(s.module, s.component) for name, s in contract.services.items()}
    return Services(listed, contract.modules)


class JoinFactory:
    """Makes join runners; operations and decoder are shared by all partitions of a worker."""

    def __init__(
        self, pipeline: Pipeline, partitions: int, origins: Mapping[str, int] | None = None
    ) -> None:
        settings = pipeline.settings
        contract = pipeline.contract
        self._pipeline = pipeline
        self._partitions = partitions
        self.sources = sources_of(pipeline.telemetry, pipeline.internal, origins or {})
        self._plan = compile_plan(contract) if contract else EMPTY
        self._rules = (
            compile_rules(contract.operations) if contract and contract.operations else None
        )
        self._operations = Operations(settings.operations_max)
        for stage in self._plan.stage_operation:  # before any thread restores a task
            self._operations.code(stage)
        self._schemas = default_schemas()
        # Foreign spans hold no metric points, and nothing but traces is derived of them.
        self._series = None if pipeline.is_foreign else SeriesBook(settings.series_max)
        self._decoder = EventDecoder(
            self._schemas,
            self._operations,
            pipeline.profile,
            self._plan.dimensions,
            settings.max_event_bytes,
            series=self._series,
            signal_dimensions=settings.signal_dimensions,
            metric_names=contract.metric_names if contract else None,
            otlp_kinds=pipeline.otlp_kinds,
            services=services_of(contract),
            rekeyed=(self.sources.internal, self.sources.of_origin) if origins else None,
            treating=EventTreating(pipeline.privacy) if pipeline.privacy else None,
        )
        self._conditions: dict[int, U64] = {
            c.bit: np.array([value_hash(v) for v in c.values], np.uint64)
            for c in self._plan.conditions
        }
        self._settings = join_settings(settings)

    def make(self, partition: int) -> Runner:
        """Make the runner of one partition, without state."""
        pipeline, settings = self._pipeline, self._pipeline.settings
        telemetry = pipeline.telemetry
        other = telemetry.index(topics.OTHER) if topics.OTHER in telemetry else 0
        folder = settings.state_dir / settings.group / "open"
        shelf = Shelf(folder, settings.disk_free_min_bytes)
        sources = self.sources
        shared = [i for i, kind in pipeline.otlp_kinds.items() if kind != METRICS]
        task = JoinTask(
            self._plan,
            self._operations,
            sources.names,
            self._topic_of_module(),
            other=other,
            silent=pipeline.silent,
            shared=shared,
            parts=sources.parts,
            placed_anew=sources.placed_anew,
            settings=self._settings,
            describe=self._describe(),
            read_link=self._read_link,
            condition_hashes=self._conditions,
            rules=self._rules,
            partition=partition,
            partitions=self._partitions,
            series=self._series,
            shelve=shelf,
        )
        writer = TraceWriter(
            self._plan,
            self._operations,
            TraceEncoder(self._schemas),
            pipeline.derived(topics.TRACES),
            settings.summary_topic,
        )
        names = OutputTopics(
            pipeline.derived(topics.TRACES),
            pipeline.derived(topics.FRAGMENTS),
            pipeline.derived(topics.PARTIALS),
            pipeline.derived(topics.REJECTED),
            pipeline.derived(topics.SIGNALS),
        )
        inputs = CauseInputs(
            "" if pipeline.is_foreign else pipeline.derived(topics.CAUSE_INPUTS),
            _share(settings.cause_traces_per_cut, self._partitions),
            self._operations,
            self._schemas.id_of("telemetry_event"),
        )
        return JoinRunner(
            task,
            self._decoder,
            writer,
            sources,
            partition,
            self._partitions,
            names=names,
            inputs=inputs,
            shelf=shelf,
            privacy=pipeline.privacy,
            untreated=untreated(pipeline.contract, pipeline.privacy),
        )

    def reader(self) -> TraceReader:
        """Return what reads traces back."""
        return TraceReader(self._schemas, self._pipeline.profile.schema)

    def _topic_of_module(self) -> Mapping[str, int]:
        contract, telemetry = self._pipeline.contract, self._pipeline.telemetry
        if contract is None or self._pipeline.settings.input_topics:
            return {}
        return {name: telemetry.index(contract.topic(name)) for name in contract.modules}

    def _read_link(self, body: bytes) -> Told:
        return told_by(decode_body(self._schemas.current("telemetry_event"), body))

    def _describe(self) -> Callable[[bytes], tuple[str, str]]:
        profile = self._pipeline.profile
        schema = profile.schema or self._schemas.current("telemetry_event")
        record_field = profile.columns.get("record_id", "")
        batch_field = profile.columns.get("batch_id", "")

        def describe(body: bytes) -> tuple[str, str]:
            event = decode_body(schema, body)
            return event.get(record_field) or "", event.get(batch_field) or ""

        return describe


def join_settings(settings: WorkerSettings) -> JoinSettings:
    """Return the engine's settings, in its units."""
    return JoinSettings(
        fixed_wait_us=_us(settings.fixed_wait_seconds) or None,
        closed_retention_us=_us(settings.closed_retention_seconds),
        closed_max=settings.closed_traces_max,
        open_traces_max=settings.open_traces_max,
        open_bytes_max=settings.open_bytes_max,
        open_resident_bytes_max=settings.open_resident_bytes_max,
        open_raw_bytes_max=settings.open_raw_bytes_max,
        halves_bytes_max=settings.halves_bytes_max,
        window_us=_us(settings.window_seconds),
        signals=signal_bounds(settings),
        hold_ahead_us=_us(settings.hold_ahead_seconds) or None,
        bounds=TraceBounds(settings.trace_events_max, settings.trace_bytes_max),
        progress=ProgressSettings(
            _us(settings.disorder_max_seconds), _us(settings.delay_max_seconds)
        ),
        waits=WaitSettings(
            _us(settings.wait_initial_seconds),
            _us(settings.wait_floor_seconds),
            _us(settings.wait_ceiling_seconds),
        ),
    )


def signal_bounds(settings: WorkerSettings) -> SignalBounds:
    """Return how many series and windows of signals a partition counts."""
    window_us = _us(settings.window_seconds)
    least = SignalBounds()
    retention_us = max(least.retention_us, 2 * window_us)
    # Beside the windows that still take points some are ahead: topics do not run abreast.
    windows_max = max(least.windows_max, 2 * (retention_us // window_us))
    return SignalBounds(settings.signal_series_max, windows_max, retention_us)


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)


def _share(amount: int, partitions: int) -> int:
    """Return what one of the partitions has of an amount: 0 of nothing, else 1 at least."""
    return max(1, amount // partitions) if amount else 0
