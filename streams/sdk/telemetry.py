"""What a module's code calls: spans, points, context in and out."""

from __future__ import annotations

import functools
import inspect
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Self, TypeVar

from streams.errors import ConfigError
from streams.sdk import propagation
from streams.sdk.emitter import PLACES_MAX, Emitter
from streams.sdk.encode import SEVERITIES, Point
from streams.sdk.errorqueue import ErrorEntry, attempt_of, entry_of
from streams.sdk.forks import loading
from streams.sdk.generators import traced_async_generator, traced_generator
from streams.sdk.header import TYPES as MESSAGE_TYPES
from streams.sdk.header import MessageHeader
from streams.sdk.options import (
    Options,
    checked_broker,
    checked_module,
    checked_names,
    link_settings,
)
from streams.sdk.place import Place
from streams.sdk.propagation import Carrier, Entered
from streams.sdk.reports import COMPONENT, Counts
from streams.sdk.span import (
    KINDS,
    THRESHOLD_NONE,
    Carried,
    Context,
    Kind,
    Span,
    chance,
    current,
    is_context,
)
from streams.sdk.texts import TEXT_CHARACTERS_MAX, as_id, as_text, take

METRIC_NAME: Final = re.compile(
    r"pipeline\.[a-z0-9_-]+\.[a-z0-9_-]+\.(counter|histogram|gauge)\.[a-z0-9_]+"
)
"""As `streams.contract.signals.METRIC_NAME`, which a contract is checked by."""
_KIND: Final = {name: code for code, name in enumerate(KINDS)}
_ALL: Final = 1.0
_NONE: Final = ""
"""No id; an empty text is always this one object."""
_IDS: Final = ("record_id", "batch_id", "correlation_id")
F = TypeVar("F", bound=Callable[..., Any])


class Telemetry:
    """The telemetry of one component of a module.

    Cheap to share: make one per process, and `component` or `module` for the other places in it.

    Args:
        module: as the contract names it, such as ALPHA.
        component: which part of it.
        broker: bootstrap address; without it SPANLOOM_BROKER. How it is reached: SPANLOOM_KAFKA_*.
        topic: where the events go; without it `telemetry.<module>.v1`.
        actor: who does what the spans tell, where they do not say themselves.
        baggage_dimensions: entries of the baggage that become dimensions of each event.
        strict: raise ValueError for a metric name against the rule, and for unknown kinds; for
            tests of a pipeline. Otherwise such a point is dropped, counted and logged.
        field_classes, field_treatments: which fields are personal, as the contract says it; their
            values are treated before anything is sent.
        pseudonym_keys: lines `ID SECRET`, the same as those of collectors and workers; without them
            those of SPANLOOM_PSEUDONYM_KEYS_FILE or SPANLOOM_PSEUDONYM_KEYS.
        bounds: fields of `Options`.

    Raises:
        ConfigError: an argument, or the link to the broker, cannot be; only here.
    """

    def __init__(
        self,
        module: str,
        component: str,
        broker: str | None = None,
        *,
        topic: str = "",
        actor: str = "",
        baggage_dimensions: Iterable[str] = (),
        strict: bool = False,
        field_classes: Mapping[str, str] | None = None,
        field_treatments: Mapping[str, str] | None = None,
        pseudonym_keys: str = "",
        **bounds: Any,
    ) -> None:
        checked_module(module, component)
        unknown = bounds.keys() - Options.__slots__
        if unknown:
            known = ", ".join(Options.__slots__)
            raise ConfigError(f"Telemetry({min(unknown)}=...): no such option; known: {known}")
        options = Options(**bounds)
        link = link_settings(checked_broker(broker))
        self._is_strict = strict
        treat = _treating(field_classes or {}, field_treatments or {}, pseudonym_keys)
        self.emitter = Emitter(options, partial(_sender, link), treat)
        self.place = Place(
            self.emitter,
            module,
            component,
            topic or _topic_of(module),
            as_text(actor),
            round((1.0 - options.sample_ratio) * THRESHOLD_NONE),
            checked_names(baggage_dimensions),
        )
        self._others: dict[tuple[str, str, str], Telemetry] = {}
        self._others[module, component, self.place.topic] = self
        self.emitter.reports.home = self._at(module, COMPONENT, self.place.topic).place

    # --- other places of the same process

    def component(self, component: str) -> Telemetry:
        """Return the telemetry of another component of the module, by the same connection."""
        checked_module(self.place.module, component)
        return self._at(self.place.module, component, self.place.topic)

    def module(self, module: str, component: str, topic: str = "") -> Telemetry:
        """Return the telemetry of another module that this process works for."""
        checked_module(module, component)
        return self._at(module, component, topic or _topic_of(module))

    def _at(self, module: str, component: str, topic: str) -> Telemetry:
        key = module, component, topic
        found = self._others.get(key)
        if found is not None:  # its counters go on
            return found
        other = object.__new__(Telemetry)
        if len(self._others) < PLACES_MAX:
            self._others[key] = other
        other._others = self._others
        other._is_strict = self._is_strict
        other.emitter = self.emitter
        mine = self.place
        other.place = Place(
            mine.emitter,
            module,
            component,
            topic,
            mine.actor,
            mine.threshold,
            mine.baggage_dimensions,
        )
        return other

    # --- spans

    def span(
        self,
        name: str,
        kind: Kind = "INTERNAL",
        *,
        parent: Context | None = None,
        record_id: str = _NONE,
        batch_id: str = _NONE,
        correlation_id: str = _NONE,
        **dimensions: Any,
    ) -> Span:
        """Begin a span: `with telemetry.span("alpha.parse", source_system="orders"):`.

        Without `parent` it is a child of the current span, or the root of a new trace. An exception
        marks it as failed and goes on its way.
        """
        if parent is not None and not is_context(parent):
            self._refuse(f"parent: {type(parent).__name__} is no context; see extract()")
            parent = None
        try:
            number = _KIND[kind]
        except Exception:  # a hash of the pipeline's own
            self._refuse(f"kind {as_text(kind)}: one of {', '.join(KINDS)}")
            number = 0
        if type(name) is not str or len(name) > TEXT_CHARACTERS_MAX:
            name = as_id(name, "", self.emitter)
        span = Span(self.place, name, number, parent, dimensions)
        # None is asked for its truth: arrays have none, and 0 is an id.
        if record_id is not _NONE or batch_id is not _NONE or correlation_id is not _NONE:
            state, baggage, *known = span.carried
            given = zip((record_id, batch_id, correlation_id), known, strict=True)
            ids = [old if new is _NONE else as_id(new, old, self.emitter) for new, old in given]
            span.carried = Carried(state, baggage, *ids)
        return span

    def traced(self, name: str, kind: Kind = "INTERNAL", **dimensions: Any) -> Callable[[F], F]:
        """Return a decorator: each call of the function, or coroutine, is a span.

        Of a generator, asynchronous or not, each iteration is one: from the first step until it has
        ended or is closed, and current in its body alone.
        """

        def decorate(function: F) -> F:
            made: Any = None
            if inspect.isgeneratorfunction(function):
                made = traced_generator
            elif inspect.isasyncgenfunction(function):
                made = traced_async_generator
            if made is not None:
                begin = partial(self.span, name, kind, **dimensions)
                return made(function, begin)  # type: ignore[no-any-return]
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def awaited(*args: Any, **kwargs: Any) -> Any:
                    with self.span(name, kind, **dimensions):
                        return await function(*args, **kwargs)

                return awaited  # type: ignore[return-value]

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                with self.span(name, kind, **dimensions):
                    return function(*args, **kwargs)

            return called  # type: ignore[return-value]

        return decorate

    # --- points

    def count(self, name: str, by: float = 1.0, unit: str = "1", **dimensions: Any) -> None:
        """Add to a counter; its total is told every `report_seconds`. The name ends in _total."""
        full, number = self._metric_name("counter", name), self._number(name, by)
        if number is not None and number < 0:
            self._refuse(f"metric {as_text(name)!r} is a counter: it only grows, a gauge may fall")
            return
        if full is not None and number is not None:
            told, _ = take(dimensions, self.emitter)
            series = (self.place, full, as_text(unit), tuple(sorted(told.items())))
            self.emitter.reports.count(series, number)

    def gauge(self, name: str, value: float, unit: str = "1", **dimensions: Any) -> None:
        """Tell a state: how full, how many, how old."""
        self._point("gauge", name, value, unit, dimensions)

    def observe(
        self,
        name: str,
        value: float,
        unit: str = "s",
        *,
        sample_ratio: float = _ALL,
        **dimensions: Any,
    ) -> None:
        """Tell one value of a distribution; of a frequent one `sample_ratio` of them are told."""
        ratio = 1.0 if sample_ratio is _ALL else self._number("sample_ratio", sample_ratio)
        if ratio is None or ratio >= 1.0 or chance.random() < ratio:
            self._point("histogram", name, value, unit, dimensions)

    def log(
        self,
        name: str,
        severity: str = "INFO",
        *,
        value: float | None = None,
        unit: str = "",
        **dimensions: Any,
    ) -> None:
        """Tell a log event, such as a state that changed; of the current trace where there is one.

        `value` is what the event is about, where it is a number: a predicted impact, say.
        """
        if type(severity) is not str or severity not in SEVERITIES:
            self._refuse(f"severity {as_text(severity)}: one of {', '.join(SEVERITIES)}")
            severity = "INFO"
        event = self._event("LOG", name, severity, dimensions)
        number = None if value is None else self._number(name, value)
        self.emitter.put(
            event if number is None else event._replace(value=number, unit=as_text(unit))
        )

    def audit(self, name: str, operation: str, *, actor: str = "", **dimensions: Any) -> None:
        """Tell an audit entry; it is sent whether its trace is sampled or not.

        Each has an actor and, within a trace, a correlation id (row S2-59): without one of their
        own the telemetry's `actor`, else MODULE.component, and the trace id.
        """
        event, place = self._event("AUDIT", name, "INFO", dimensions), self.place
        trace_id = f"{event.trace_id:032x}" if event.trace_id else ""
        own = as_id(actor, "", self.emitter) or place.actor
        entry = event._replace(
            operation=as_id(operation, "", self.emitter),
            actor=own or f"{place.module}.{place.component}",
            correlation_id=event.correlation_id or trace_id,
        )
        self.emitter.put(entry)

    def _point(
        self, kind: str, name: str, value: float, unit: str, dimensions: dict[str, Any]
    ) -> None:
        full, number = self._metric_name(kind, name), self._number(name, value)
        if full is not None and number is not None:
            event = self._event("METRIC", full, "INFO", dimensions)
            self.emitter.put(event._replace(value=number, unit=as_text(unit)))

    def _number(self, name: str, value: Any) -> float | None:
        try:
            found = float(value)
        except Exception:  # of an object of the pipeline, or a number beyond a float's
            found = math.nan
        if math.isfinite(found):
            return found
        self._refuse(f"{as_text(name)!r}: {type(value).__name__} is no finite number")
        return None

    def _event(
        self, event_type: str, name: str, severity: str, dimensions: dict[str, Any]
    ) -> Point:
        at = current() or _NOWHERE
        record_id, batch_id, correlation_id = (
            as_id(dimensions.pop(id_, None), getattr(at, id_), self.emitter) for id_ in _IDS
        )
        told, characters = take(dimensions, self.emitter)
        return Point(
            place=self.place,
            event_type=event_type,
            severity=severity,
            name=as_id(name, "", self.emitter),
            value=math.nan,
            unit="",
            dimensions=told,
            trace_id=at.trace_id,
            span_id=at.span_id,
            flags=at.flags,
            record_id=record_id,
            batch_id=batch_id,
            correlation_id=correlation_id,
            operation="",
            actor="",
            time_ns=time.time_ns(),
            baggage=at.baggage,
            characters=characters,
        )

    def _metric_name(self, kind: str, name: str) -> str | None:
        """Return the full name by the rule, None where there is none."""
        place = self.place
        full = name = as_text(name)
        if not name.startswith("pipeline."):
            full = f"pipeline.{place.module.lower()}.{place.component.lower()}.{kind}.{name}"
        found = METRIC_NAME.fullmatch(full)
        if found is None or found[1] != kind:
            self._refuse(
                f"metric {name!r}: lower case, pipeline.<module>.<component>.{kind}.<name>"
            )
            return None
        if kind == "counter" and not full.endswith("_total"):
            self._refuse(f"metric {name!r} is a counter: let its name end in _total")
            return None
        return full

    def _refuse(self, text: str) -> None:
        if self._is_strict:
            raise ValueError(text)
        self.emitter.refused += 1
        self.emitter.complain(text, text)

    def _context(self, given: Context | None) -> Context | None:
        """Return the context that was given, else the current one."""
        if given is None or is_context(given):
            return current() if given is None else given
        self._refuse(f"context: {type(given).__name__} is none; see extract()")
        return current()

    # --- context in and out

    def inject(self, carrier: Any = None, context: Context | None = None) -> Any:
        """Write the current context, or another one, into a message's headers; return them.

        Args:
            carrier: a mapping (HTTP) or a list of pairs, which is changed; a new list for None.
            context: in place of the current one.
        """
        try:
            return propagation.inject(carrier, self._context(context), self.emitter)
        except Exception:  # of a carrier that takes nothing
            self._refuse(f"carrier: {type(carrier).__name__} is neither a mapping nor a list")
            return carrier

    def kafka_headers(self, context: Context | None = None) -> list[tuple[str, bytes]]:
        """Return the current context, or another one, as headers of a Kafka message."""
        return propagation.kafka_headers(self._context(context), self.emitter)

    def extract(self, carrier: Carrier | None, *, with_baggage: bool = True) -> Context:
        """Return the context of a message's headers: HTTP, ASGI or Kafka; never raises.

        Without baggage, at an edge where anybody may call: then neither baggage nor ids of records
        are taken over from the caller.
        """
        found = propagation.extract(carrier, self.emitter if with_baggage else None)
        if with_baggage:
            return found
        return Context(found.trace_id, found.span_id, found.flags, found.state)

    def within(self, context: Context) -> AbstractContextManager[Context]:
        """Let what begins in the block belong to a context."""
        return Entered(self._context(context))

    def header(
        self,
        target: str,
        message_type: str = "BATCH_TRANSFER",
        context: Context | None = None,
    ) -> MessageHeader:
        """Return the header of a message to another module, with the current context in it."""
        if type(message_type) is not str or message_type not in MESSAGE_TYPES:
            self._refuse(f"message type {as_text(message_type)}: one of {', '.join(MESSAGE_TYPES)}")
            message_type = MESSAGE_TYPES[0]
        to, at = as_text(target), self._context(context)
        return MessageHeader.of(self.place.module, to, message_type, at, self.emitter)

    # --- error queues

    def failed(self, error: BaseException | None, context: Context | None = None) -> ErrorEntry:
        """Return what to keep beside a record in an error queue, so that its trace can go on."""
        entry = entry_of(error, self._context(context))
        if not entry.context.trace_id:
            self.emitter.complain("failed", "failed(error): there is no span; give the one it was")
        propagation.outgoing(entry.context, self.emitter)  # what will not fit is counted now
        return entry

    def recover(self, name: str, kept: Any, *, new_trace: bool = False, **dimensions: Any) -> Span:
        """Begin the span of another attempt at a record from an error queue.

        It goes on in the trace of the failed attempt. With `new_trace`, for records that waited
        longer than a trace is remembered, it is the root of a new one and links to the original.

        Args:
            name: of the span.
            kept: an `ErrorEntry`, or the headers or mapping that one was written as.
            new_trace: begin a new trace.
            **dimensions: of the span.
        """
        entry = kept if type(kept) is ErrorEntry else ErrorEntry.read(kept, self.emitter)
        span = self.span(
            name,
            parent=entry.fresh() if new_trace else entry.context,
            **{**dimensions, "attempt": attempt_of(entry), "recovered": "true"},
        )
        return span.link(entry.context)

    # --- the end

    def counts(self) -> Counts:
        """Return what became of the events of this process so far."""
        return self.emitter.counts()

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until nothing waits, or the time is over; return whether that was so."""
        return self.emitter.flush(seconds)

    def close(self, seconds: float | None = None) -> Counts:
        """Send what waits, within a bound. The end of the program does it by itself."""
        return self.emitter.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_NOWHERE: Final = Context()


def _topic_of(module: str) -> str:
    return f"telemetry.{module.lower()}.v1"


def _treating(
    classes: Mapping[str, str], treatments: Mapping[str, str], keys: str
) -> Callable[[Span | Point], Span | Point] | None:
    if not classes and not treatments:
        return None
    from streams.sdk.personal import personal_of, treated  # who needs none of it pays nothing

    personal = personal_of(classes, treatments, keys)
    return None if personal is None else lambda item: treated(item, personal)


def _sender(link: dict[str, object], emitter: Emitter) -> Any:
    with loading():  # in the emitter's thread: not the caller's time
        from streams.sdk.sender import KafkaSender

    return KafkaSender(link, emitter.options, emitter)
