"""Spans of OpenTelemetry that say what cannot be harm neither themselves nor those beside them."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from streams.sdk.otel import SpanloomExporter
from tests.unit.sdk.senders import kept, made


def test_a_name_that_no_module_can_have_is_counted() -> None:
    """Such a span is the exporter's own, and the rest of its batch arrives."""
    t = made("GAMMA", "delivery")
    provider = TracerProvider()
    tracer = provider.get_tracer("test")
    spans = [
        tracer.start_span("first"),
        tracer.start_span("second", attributes={"spanloom.module": "orders.api"}),
        tracer.start_span("third", attributes={"spanloom.component": "a part", "n": 1}),
    ]
    for span in spans:
        span.end()
    SpanloomExporter(t).export(spans)  # type: ignore[arg-type]
    found = [(e["name"], e["module"], e["component"], e["dimensions"]) for e in kept(t)]
    assert sorted(found, key=str) == [
        ("first", "GAMMA", "delivery", {}),
        ("second", "GAMMA", "delivery", {}),
        ("third", "GAMMA", "delivery", {"n": "1"}),
    ]
    assert t.close().refused == 2


def test_what_is_too_long_is_cut_and_counted() -> None:
    """As in spans of our own."""
    t = made("GAMMA", "delivery")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpanloomExporter(t)))
    tracer = provider.get_tracer("test")
    link = trace.Link(tracer.start_span("linked").get_span_context())
    provider._span_limits.max_links = 2_000
    with tracer.start_as_current_span("n" * 2_000, links=[link] * 1_010) as span:
        span.set_attribute("spanloom.record_id", "r" * 2_000)
    (event,) = kept(t)
    assert (len(event["name"]), len(event["record_id"]), len(event["links"])) == (
        1_024,
        1_024,
        1_000,
    )
    assert t.close().cut == 2 + 10
