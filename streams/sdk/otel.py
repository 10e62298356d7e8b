"""Spans of the OpenTelemetry SDK as native events, through the same emitter.

For programs that are instrumented with OpenTelemetry already. Needs `opentelemetry-sdk` (the extra
`otel` of this package); nothing else of `streams.sdk` imports this module.

    provider.add_span_processor(BatchSpanProcessor(SpanloomExporter(telemetry)))

Source of names: OpenTelemetry semantic conventions (`service.name`, `error.type`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from streams.errors import ConfigError
from streams.sdk.place import Place
from streams.sdk.span import (
    ERROR,
    LINK_CHARACTERS,
    LINKS_MAX,
    NOTHING,
    OK,
    UNSET,
    UNTOLD,
    Span,
    Told,
)
from streams.sdk.telemetry import Telemetry
from streams.sdk.texts import as_id, as_text, take

COMPONENT: Final = "spanloom.component"
MODULE: Final = "spanloom.module"
"""Attributes of a span, else of its resource, that name another place than the exporter's."""
_IDS: Final = {
    "spanloom.record_id": "record_id",
    "spanloom.batch_id": "batch_id",
    "spanloom.correlation_id": "correlation_id",
    "spanloom.operation": "operation",
    "spanloom.actor": "actor",
}
"""Attributes that are fields of an event."""
_STATUS: Final = {StatusCode.UNSET: UNSET, StatusCode.OK: OK, StatusCode.ERROR: ERROR}
_PLACES_MAX: Final = 1_000
"""Places of a process; the spans of further ones count for the exporter's own."""


class SpanloomExporter(SpanExporter):
    """Hands finished spans to a telemetry's emitter, which sends them in its own time.

    Args:
        telemetry: whose module and component the spans have where they name none themselves.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._places: dict[tuple[str, str], Place] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans; what the emitter cannot hold is dropped and counted there."""
        for span in spans:
            self._telemetry.emitter.put(self._event(span))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Send what waits, within the emitter's bound."""
        self._telemetry.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all spans are sent; return whether that was so in time."""
        return self._telemetry.flush(timeout_millis / 1_000)

    def _event(self, span: ReadableSpan) -> Span:
        """Return a span of ours that has ended, with what a span of theirs says."""
        attributes: dict[str, Any] = dict(span.attributes or {})
        event = object.__new__(Span)
        event.place = self._place(attributes, span.resource.attributes)
        counting = self._telemetry.emitter
        event.name = as_id(span.name, "", counting)
        context = span.get_span_context()
        assert context is not None, "a span that was exported has a context"
        event.trace_id, event.span_id = context.trace_id, context.span_id
        event.flags = int(context.trace_flags)
        event.parent_id = span.parent.span_id if span.parent is not None else 0
        event.kind = span.kind.value
        event.start_ns = span.start_time or 0
        event.duration_ns = max(0, (span.end_time or 0) - event.start_ns)
        event.status = _STATUS[span.status.status_code]
        event.carried = NOTHING
        links = [(at.context.trace_id, at.context.span_id) for at in span.links[:LINKS_MAX]]
        event.told = Told(links=tuple(links)) if links else UNTOLD
        counting.cut += len(span.links[LINKS_MAX:])
        for name, field in _IDS.items():
            if name in attributes:
                setattr(event, field, as_id(attributes.pop(name), "", counting))
        error_type = attributes.pop("error.type", None) or _exception_of(span)
        if error_type:
            attributes["error_type"] = error_type
        event.dimensions, event.characters = take(attributes, counting)
        event.characters += LINK_CHARACTERS * len(links)
        return event

    def _place(self, attributes: dict[str, Any], resource: Mapping[str, Any]) -> Place:
        own = self._telemetry.place
        module = attributes.pop(MODULE, None) or resource.get(MODULE) or own.module
        component = attributes.pop(COMPONENT, None) or resource.get(COMPONENT) or own.component
        at = (as_text(module), as_text(component))
        found = self._places.get(at)
        if found is None:
            if at == (own.module, own.component) or len(self._places) >= _PLACES_MAX:
                return own
            found = self._places[at] = self._new_place(*at)
        return found

    def _new_place(self, module: str, component: str) -> Place:
        own = self._telemetry
        try:
            if module == own.place.module:
                return own.component(component).place
            return own.module(module, component).place
        except ConfigError as error:  # its spans are told all the same, and those beside them
            own.emitter.refused += 1
            own.emitter.complain(f"{module} {component}", f"{MODULE}, {COMPONENT}: {error}")
            return own.place


def _exception_of(span: ReadableSpan) -> Any:
    """Return the type of the last exception that a span recorded, None for none."""
    recorded = (event.attributes or {} for event in span.events if event.name == "exception")
    return next((a.get("exception.type") for a in reversed(list(recorded))), None)
