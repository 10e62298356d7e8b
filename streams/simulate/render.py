"""Steps as events: spans, and the log lines and audit entries that go with them.

Owns what an instrumented module writes about its work. Invariant: one span (or, without context,
one log line) for each step, and nothing here decides whether an event is delivered.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.simulate.behaviour import behaviour_of
from streams.simulate.events import SAMPLED, Event, new_event
from streams.simulate.walk import Step, Unit

LOGGED_RATIO: Final = 0.1
"""Entry spans that come with a log line."""


class Draft(NamedTuple):
    """One event before delivery.

    Attributes:
        event: the event as a module with a right clock writes it.
        start_us, end_us: what it tells of, true time; it is sent at the end.
        stage_id: the stage of a span; "" for every other event.
    """

    event: Event
    start_us: int
    end_us: int
    stage_id: str = ""


def render_steps(unit: Unit, steps: list[Step]) -> Iterator[Draft]:
    """Yield the events of a walk, each step's span first."""
    for position, step in enumerate(steps):
        behaviour = behaviour_of(step.stage.id)
        links = unit.links if position == 0 else []
        yield _span(unit, step, links) if step.trace_id else _uninstrumented(unit, step)
        if behaviour.audit:
            event = _note(unit, step, "AUDIT", f"{step.stage.id}_audited")
            event["operation"] = behaviour.audit
            event["actor"] = f"svc-{step.stage.module.lower()}"
            yield Draft(event, step.end_us, step.end_us)
        if step.is_error:
            event = _note(unit, step, "LOG", f"{step.stage.id}_failed")
            event["severity"] = "ERROR"
            event["dimensions"]["error_category"] = behaviour.error_category
            yield Draft(event, step.end_us, step.end_us)
        if position == 0 and unit.rng.random() < LOGGED_RATIO:
            event = _note(unit, step, "LOG", f"{step.stage.id}_accepted")
            yield Draft(event, step.end_us, step.end_us)


def _span(unit: Unit, step: Step, links: list[Event]) -> Draft:
    stage = step.stage
    event = new_event(
        unit.rng,
        "TRACE",
        stage.module,
        stage.component,
        stage.name,
        step.start_us,
        dict(step.dimensions),
    )
    _identify(unit, step, event)
    event["parent_span_id"] = step.parent_span_id
    event["duration_us"] = step.end_us - step.start_us
    event["status"] = "ERROR" if step.is_error else "OK"
    event["severity"] = "ERROR" if step.is_error else "INFO"
    event["span_kind"] = behaviour_of(stage.id).span_kind
    event["trace_flags"] = SAMPLED
    event["links"] = links
    return Draft(event, step.start_us, step.end_us, stage.id)


def _uninstrumented(unit: Unit, step: Step) -> Draft:
    """Say as a log line what a span would have said: without context there is no span to open."""
    event = _note(unit, step, "LOG", step.stage.name)
    event["timestamp"] = step.start_us
    event["dimensions"] |= step.dimensions
    return Draft(event, step.start_us, step.end_us)


def _note(unit: Unit, step: Step, event_type: str, name: str) -> Event:
    """Return an event beside the step's span, in its trace when it has one."""
    stage = step.stage
    event = new_event(unit.rng, event_type, stage.module, stage.component, name, step.end_us, {})
    _identify(unit, step, event)
    if step.trace_id:
        event["trace_flags"] = SAMPLED
    return event


def _identify(unit: Unit, step: Step, event: Event) -> None:
    event["trace_id"] = step.trace_id
    event["span_id"] = step.span_id
    event["record_id"] = unit.record_id
    event["batch_id"] = unit.batch_id
    event["correlation_id"] = unit.correlation_id
