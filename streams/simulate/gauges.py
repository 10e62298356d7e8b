"""What modules say about themselves every second: metric points and log lines outside any trace.

Owns the metric names, `pipeline.<module>.<component>.<type>.<name>`. Invariant: no event here
has a trace id.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.simulate.events import new_event
from streams.simulate.layout import Layout
from streams.simulate.render import Draft
from streams.simulate.walk import Unit
from streams.units import SECOND_US


class Metric(NamedTuple):
    """One metric: who reports it, of which type, and around which value it moves."""

    component: str
    metric_type: str
    name: str
    unit: str
    level: float


METRICS: Final[dict[str, tuple[Metric, ...]]] = {
    "ALPHA": (
        Metric("connection", "gauge", "pool_connections_in_use", "1", 12),
        Metric("parser", "counter", "parse_errors_total", "1", 0.2),
        Metric("validation", "gauge", "error_rate", "1", 0.002),
        Metric("buffer", "gauge", "buffer_utilization_ratio", "1", 0.3),
    ),
    "BETA": (
        Metric("transform", "counter", "rules_applied_total", "1", 240),
        Metric("enrichment", "gauge", "cache_hit_ratio", "1", 0.8),
        Metric("enrichment", "histogram", "source_latency_seconds", "s", 0.05),
    ),
    "GAMMA": (
        Metric("delivery", "counter", "records_delivered_total", "1", 40),
        Metric("delivery", "histogram", "delivery_latency_seconds", "s", 0.1),
        Metric("dead_letter_queue", "gauge", "queue_depth", "1", 2),
    ),
    "EPSILON": (
        Metric("cache", "gauge", "hit_ratio", "1", 0.87),
        Metric("cache", "gauge", "capacity_utilization_ratio", "1", 0.6),
        Metric("cache", "counter", "evictions_total", "1", 5),
    ),
    "PHI": (
        Metric("scheduler", "gauge", "queue_depth", "1", 4),
        Metric("scheduler", "histogram", "schedule_delay_seconds", "s", 0.02),
    ),
    "INTEGRATION": (
        Metric("transfer", "histogram", "transfer_latency_seconds", "s", 0.03),
        Metric("back_pressure", "gauge", "signal_active", "1", 0.01),
        Metric("circuit_breaker", "gauge", "open_circuits", "1", 0.01),
    ),
}

HEARTBEAT: Final = "module_alive"


def metrics_of(layout: Layout, module: str) -> tuple[Metric, ...]:
    """Return a module's metrics; a module that the table does not know gets one a component."""
    if module in METRICS:
        return METRICS[module]
    return tuple(
        Metric(component, "gauge", "events_in_flight", "1", 5)
        for component in layout.components[module]
    )


def metric_name(module: str, metric: Metric) -> str:
    """Return the full name of a module's metric."""
    return f"pipeline.{module.lower()}.{metric.component}.{metric.metric_type}.{metric.name}"


def render_second(layout: Layout, unit: Unit, second: int) -> Iterator[Draft]:
    """Yield one second of metric points, and every other second a log line a module.

    A counter's value is its total since the start; a gauge's and a histogram's is of the moment.
    """
    rng = unit.rng
    for module in layout.topics:
        for metric in metrics_of(layout, module):
            at_us = unit.born_us + rng.randrange(SECOND_US // 2)
            name = metric_name(module, metric)
            event = new_event(rng, "METRIC", module, metric.component, name, at_us, {})
            value = metric.level * rng.lognormvariate(0.0, 0.2)
            if metric.metric_type == "counter":
                value = float(int(metric.level * (second + 1)))
            event["value"] = round(value, 6)
            event["unit"] = metric.unit
            yield Draft(event, at_us, at_us)
        if second % 2 == 0:
            at_us = unit.born_us + rng.randrange(SECOND_US // 2)
            component = layout.components[module][0]
            event = new_event(rng, "LOG", module, component, HEARTBEAT, at_us, {})
            event["severity"] = "DEBUG"
            yield Draft(event, at_us, at_us)
