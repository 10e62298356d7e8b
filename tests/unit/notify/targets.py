"""Targets for tests, with the loopback open unless a test says otherwise."""

from typing import Any

from streams.contract.notify import Notify, Target

LOOPBACK = ["127.0.0.0/8"]


def target(kind: str = "webhook", **changed: Any) -> Target:
    """Return a target that may call the loopback without TLS."""
    given = {
        "id": "one", "kind": kind, "allow_networks": LOOPBACK, "allow_plain_http": True,
        "backoff_seconds": 0.05, "backoff_seconds_max": 0.2, "timeout_seconds": 5.0,
    } | changed  # fmt: skip
    return Target.model_validate(given, strict=False)


def notify(*targets: Target, **changed: Any) -> Notify:
    """Return a part with these targets."""
    page = "https://c.example.org/{incident_id}"
    return Notify(targets=targets, page_url=page, **changed)
