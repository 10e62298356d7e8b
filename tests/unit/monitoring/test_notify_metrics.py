"""What the process that tells of incidents shows of itself."""

from typing import Any

from streams.monitoring.meter import Sample
from streams.monitoring.notify_metrics import (
    NOTIFY_CATALOGUE,
    NotifyCollector,
    NotifyView,
    exposition,
    health,
    ready,
)


def status(name: str = "pager", **changed: Any) -> dict[str, Any]:
    """Return a target's status as its runner makes it."""
    return {
        "target": name, "kind": "webhook", "is_assigned": True, "is_down": False,
        "down_seconds": 0.0, "failures": 0, "reason": "", "pending": 2, "pending_bytes": 20,
        "oldest_seconds": 1.5, "lag": 7, "followed": 3, "events": {"delivered": 5},
        "attempts": {"failed": 4}, "dropped": {"gave_up": 1},
        "delivery_seconds": Sample(5, 2.5, 1.0), "attempt_seconds": Sample(6, 0.6, 0.2),
        "replicas": {"am-0:9093": "", "am-1:9093": "no answer"}, "silent_seconds": 2.0,
    } | changed  # fmt: skip


def test_every_metric_of_the_catalogue_is_served_and_no_other() -> None:
    """Names, kinds and labels are the catalogue's."""
    view = NotifyView([status()], 60.0, "running")
    families = {one.name: one for one in NotifyCollector(lambda: view).collect()}
    assert list(families) == list(NOTIFY_CATALOGUE)
    for name, family in families.items():
        assert family.type == NOTIFY_CATALOGUE[name].kind  # type: ignore[index]
        assert family.samples, name
        labels = set(NOTIFY_CATALOGUE[name].labels)  # type: ignore[index]
        assert all(set(sample.labels) == labels for sample in family.samples)


def test_values_are_those_of_the_view() -> None:
    """A drop is counted by its reason, a replica that is away is shown by its name."""
    view = NotifyView([status()], 60.0, "running")
    _, text = exposition(lambda: view)("text/plain")
    lines = text.decode().splitlines()
    assert 'spanloom_notify_dropped_events_total{reason="gave_up",target="pager"} 1.0' in lines
    assert 'spanloom_notify_replica_down{replica="am-1:9093",target="pager"} 1.0' in lines
    assert 'spanloom_notify_delivery_seconds_sum{target="pager"} 2.5' in lines
    assert 'spanloom_notify_target_down{target="pager"} 0.0' in lines


def test_a_target_that_is_down_is_shown_and_is_no_reason_for_a_restart() -> None:
    """200 with the target's name, reason and age; only a silent broker is 503."""
    down = status(is_down=True, down_seconds=400.0, reason="status 503")
    code, body = health(NotifyView([down, status("chat")], 60.0, "running"))
    assert (code, body["degraded"]) == (200, ["pager"])
    assert body["targets"]["pager"]["reason"] == "status 503"
    code, body = health(NotifyView([status(silent_seconds=61.0)], 60.0, "running"))
    assert (code, body["healthy"]) == (503, False)


def test_a_spare_is_not_ready() -> None:
    """It says which targets another process tells."""
    assert ready(NotifyView([status()], 60.0, "running"))[0] == 200
    code, body = ready(NotifyView([status(is_assigned=False)], 60.0, "running"))
    assert (code, body["reason"]) == (503, "not assigned: pager")
    assert ready(NotifyView([status()], 60.0, "stopping"))[0] == 503
    assert ready(NotifyView())[1]["reason"] == "starting"
