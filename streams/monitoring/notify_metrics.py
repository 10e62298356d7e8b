"""Metrics and pages of the process that hands incidents on: its catalogue, filled from a view.

Owns the names. A target that is away is shown as degraded and not as ill: a restart of this process
does not mend somebody else's, and a probe must not try.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams.monitoring.metrics import Entry, Row, exposition_of, make_family
from streams.monitoring.view import Answer

NotifyMetricName = Literal[
    "spanloom_notify_ready", "spanloom_notify_healthy", "spanloom_notify_events",
    "spanloom_notify_dropped_events", "spanloom_notify_attempts",
    "spanloom_notify_attempt_seconds", "spanloom_notify_attempt_seconds_max",
    "spanloom_notify_delivery_seconds", "spanloom_notify_delivery_seconds_max",
    "spanloom_notify_target_down", "spanloom_notify_target_down_seconds",
    "spanloom_notify_replica_down", "spanloom_notify_pending_events",
    "spanloom_notify_pending_bytes", "spanloom_notify_oldest_seconds",
    "spanloom_notify_lag_offsets", "spanloom_notify_followed_incidents",
    "spanloom_notify_broker_silent_seconds",
]  # fmt: skip
"""Every name: a typo fails the type check."""

_TARGET: Final = ("target",)
NOTIFY_CATALOGUE: Final[Mapping[NotifyMetricName, Entry]] = {
    "spanloom_notify_ready": Entry("gauge", (), "1 while every target is read for, here."),
    "spanloom_notify_healthy": Entry("gauge", (), "1 while the broker answers, as /health says."),
    "spanloom_notify_events": Entry(
        "counter", ("target", "result"), "Events done: delivered, filtered or dropped."
    ),
    "spanloom_notify_dropped_events": Entry(
        "counter", ("target", "reason"), "Events that a target was not told of, by reason."
    ),
    "spanloom_notify_attempts": Entry(
        "counter", ("target", "outcome"), "Attempts: delivered, failed, misconfigured or refused."
    ),
    "spanloom_notify_attempt_seconds": Entry("summary", _TARGET, "Duration of attempts."),
    "spanloom_notify_attempt_seconds_max": Entry("gauge", _TARGET, "The longest attempt."),
    "spanloom_notify_delivery_seconds": Entry(
        "summary", _TARGET, "From the topic's time of an event to its being taken."
    ),
    "spanloom_notify_delivery_seconds_max": Entry("gauge", _TARGET, "The slowest delivery."),
    "spanloom_notify_target_down": Entry("gauge", _TARGET, "1 while the breaker is open."),
    "spanloom_notify_target_down_seconds": Entry(
        "gauge", _TARGET, "Since the first failure of a target that is down."
    ),
    "spanloom_notify_replica_down": Entry(
        "gauge", ("target", "replica"), "1 while an Alertmanager did not take the last request."
    ),
    "spanloom_notify_pending_events": Entry("gauge", _TARGET, "Events read and not done."),
    "spanloom_notify_pending_bytes": Entry("gauge", _TARGET, "Bytes of events not done."),
    "spanloom_notify_oldest_seconds": Entry("gauge", _TARGET, "Age of the oldest event not done."),
    "spanloom_notify_lag_offsets": Entry("gauge", _TARGET, "Offsets of the topic not read yet."),
    "spanloom_notify_followed_incidents": Entry(
        "gauge", _TARGET, "Incidents that a target was told of and that are not over."
    ),
    "spanloom_notify_broker_silent_seconds": Entry(
        "gauge", _TARGET, "Since the broker last answered."
    ),
}
Statuses = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NotifyView:
    """The process at one moment.

    Attributes:
        targets: one mapping a target, as `TargetRunner.status` makes them.
        silent_seconds_max: from so much silence of the broker on, it is ill.
        state: "starting", "running" or "stopping".
    """

    targets: Statuses = ()
    silent_seconds_max: float = 60.0
    state: Literal["starting", "running", "stopping"] = "starting"

    @property
    def is_healthy(self) -> bool:
        """Say whether the broker answers."""
        return all(t["silent_seconds"] < self.silent_seconds_max for t in self.targets)

    @property
    def not_ready(self) -> str:
        """Return why not every target is read for here, "" when it is."""
        if self.state != "running":
            return self.state
        spare = [str(t["target"]) for t in self.targets if not t["is_assigned"]]
        return f"not assigned: {', '.join(spare)}" if spare else ""


def health(view: NotifyView) -> Answer:
    """Return the answer of `/health`: 503 when the broker is silent; targets that are down show."""
    down = [t for t in view.targets if t["is_down"]]
    body = {
        "healthy": view.is_healthy,
        "degraded": [t["target"] for t in down],
        "state": view.state,
        "targets": {
            str(t["target"]): {
                "kind": t["kind"],
                "assigned": t["is_assigned"],
                "down": t["is_down"],
                "down_seconds": round(t["down_seconds"], 1),
                "reason": t["reason"],
                "pending": t["pending"],
                "oldest_seconds": round(t["oldest_seconds"], 1),
                "lag_offsets": t["lag"],
                "events": t["events"],
                "dropped": t["dropped"],
                "replicas": {name: why or "up" for name, why in t["replicas"].items()},
                "broker_silent_seconds": round(t["silent_seconds"], 1),
            }
            for t in view.targets
        },
    }
    return (200 if view.is_healthy else 503), body


def ready(view: NotifyView) -> Answer:
    """Return the answer of `/ready`: 200 while every target is read for here."""
    body: dict[str, Any] = {"ready": not view.not_ready, "state": view.state}
    if view.not_ready:
        body["reason"] = view.not_ready
    return (503 if view.not_ready else 200), body


class NotifyCollector(Collector):
    """Turns a view into metrics.

    Args:
        view: gives the last look.
    """

    def __init__(self, view: Callable[[], NotifyView]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the catalogue."""
        view = self._view()
        targets = view.targets
        rows: dict[NotifyMetricName, Iterable[Row]] = {
            "spanloom_notify_ready": [((), int(not view.not_ready))],
            "spanloom_notify_healthy": [((), int(view.is_healthy))],
            "spanloom_notify_events": _by_key(targets, "events"),
            "spanloom_notify_dropped_events": _by_key(targets, "dropped"),
            "spanloom_notify_attempts": _by_key(targets, "attempts"),
            "spanloom_notify_attempt_seconds": _each(targets, "attempt_seconds"),
            "spanloom_notify_attempt_seconds_max": _largest(targets, "attempt_seconds"),
            "spanloom_notify_delivery_seconds": _each(targets, "delivery_seconds"),
            "spanloom_notify_delivery_seconds_max": _largest(targets, "delivery_seconds"),
            "spanloom_notify_target_down": _each(targets, "is_down"),
            "spanloom_notify_target_down_seconds": _each(targets, "down_seconds"),
            "spanloom_notify_replica_down": _replicas(targets),
            "spanloom_notify_pending_events": _each(targets, "pending"),
            "spanloom_notify_pending_bytes": _each(targets, "pending_bytes"),
            "spanloom_notify_oldest_seconds": _each(targets, "oldest_seconds"),
            "spanloom_notify_lag_offsets": _each(targets, "lag"),
            "spanloom_notify_followed_incidents": _each(targets, "followed"),
            "spanloom_notify_broker_silent_seconds": _each(targets, "silent_seconds"),
        }
        for name, entry in NOTIFY_CATALOGUE.items():
            yield make_family(name, entry, rows[name])


def _by_key(targets: Statuses, field: str) -> Iterator[Row]:
    for target in targets:
        for key, value in target[field].items():
            yield (target["target"], key), value


def _each(targets: Statuses, field: str) -> Iterator[Row]:
    for target in targets:
        yield (target["target"],), target[field]


def _largest(targets: Statuses, field: str) -> Iterator[Row]:
    for target in targets:
        yield (target["target"],), target[field].max


def _replicas(targets: Statuses) -> Iterator[Row]:
    for target in targets:
        for name, why in target["replicas"].items():
            yield (target["target"], name), int(bool(why))


def exposition(view: Callable[[], NotifyView]) -> Callable[[str], tuple[str, bytes]]:
    """Return a function that gives (content type, text) of all metrics to whoever accepts them."""
    return exposition_of(NotifyCollector(view))
