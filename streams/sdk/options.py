"""What an instrumented program can choose, with its bounds; checked when telemetry is made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from streams.codec.brokers import broker_problem
from streams.errors import ConfigError

LOG_NAME: Final = "spanloom.sdk"
"""The SDK's own logger, of Python's logging: what it cannot send, it says there."""
_MODULE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BOUNDS: Final = {
    "sample_ratio": (0.0, 1.0),
    "queue_events_max": (100, 1_000_000),
    "queue_characters_max": (100_000, 1 << 30),
    "buffer_bytes_max": (1 << 20, 1 << 30),
    "batch_bytes_max": (1_000, 900_000),
    "linger_seconds": (0.001, 10.0),
    "report_seconds": (0.1, 3_600.0),
    "delivery_seconds_max": (1.0, 3_600.0),
    "exit_seconds_max": (0.0, 60.0),
    "wait_told_seconds": (0.1, 3_600.0),
    "wait_told_again_seconds": (0.1, 3_600.0),
    "batch_schema_id": (1, (1 << 31) - 1),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds of what waits and for how long; docs/sdk.md says what happens beyond each.

    Attributes:
        sample_ratio: share of the traces that begin here whose spans are sent, 0 to 1.
        queue_events_max: finished events that wait to be encoded.
        queue_characters_max: characters of their dimensions and links, about.
        buffer_bytes_max: encoded events that wait for the broker.
        batch_bytes_max: of one message, about.
        linger_seconds: how long a finished event waits for others, at most.
        report_seconds: how often the SDK tells of itself and counters tell their totals.
        delivery_seconds_max: how long an encoded event waits for the broker before it is dropped.
            Longer than an outage should be: what times out while it is on its way may arrive all
            the same, and what is behind it may then arrive twice.
        exit_seconds_max: how long the end of the program may wait for the broker.
        wait_told_seconds: how long events wait while the broker takes none, before that is logged:
            longer than a restart of the broker, or an election of a leader, takes.
        wait_told_again_seconds: how often it is logged again.
        batch_schema_id: under which a schema registry has `telemetry_batch`; as in
            `schemas/topics.yaml` where there is none.
    """

    sample_ratio: float = 1.0
    queue_events_max: int = 20_000
    queue_characters_max: int = 16 << 20
    buffer_bytes_max: int = 32 << 20
    batch_bytes_max: int = 256 << 10
    linger_seconds: float = 0.1
    report_seconds: float = 10.0
    delivery_seconds_max: float = 900.0
    exit_seconds_max: float = 3.0
    wait_told_seconds: float = 30.0
    wait_told_again_seconds: float = 60.0
    batch_schema_id: int = 20

    def __post_init__(self) -> None:
        for one in fields(self):
            name, (least, most) = one.name, _BOUNDS[one.name]
            value, is_whole = getattr(self, name), type(one.default) is int
            known = (int,) if is_whole else (int, float)
            if type(value) not in known or not least <= value <= most:
                kind = "a whole number" if is_whole else "a number"
                raise ConfigError(
                    f"Telemetry({name}={value!r}): give {kind} from {least:g} to {most:g}"
                )


def checked_module(module: str, component: str) -> None:
    """Pass names that topics and metric names can hold.

    Raises:
        ConfigError: one cannot be.
    """
    for key, value in (("module", module), ("component", component)):
        if not _MODULE.fullmatch(value if type(value) is str else ""):
            raise ConfigError(
                f"Telemetry({key}={value!r}): give 1 to 64 letters, digits, dashes and underscores"
            )


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of entries of a baggage.

    Raises:
        ConfigError: it is one text, or holds what is none.
    """
    found = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or any(type(one) is not str for one in found):
        raise ConfigError(
            f"Telemetry(baggage_dimensions={names!r}): give names, such as ('region', 'channel')"
        )
    return found


def checked_broker(broker: str | None) -> str:
    """Return the bootstrap address, by default that of SPANLOOM_BROKER.

    Raises:
        ConfigError: there is none, or it is no HOST:PORT.
    """
    found = broker or os.environ.get("SPANLOOM_BROKER", "")
    if not found:
        raise ConfigError(
            "Telemetry(broker=...) is missing: give HOST:PORT, or set SPANLOOM_BROKER"
        )
    if problem := broker_problem(found):
        raise ConfigError(f"Telemetry(broker=...): {problem}")
    return found


def link_settings(broker: str) -> dict[str, object]:
    """Return how a client reaches the broker: by SPANLOOM_KAFKA_*, as every command does.

    Raises:
        ConfigError: the settings of the link are wrong.
    """
    if not any(name.startswith("SPANLOOM_KAFKA_") for name in os.environ):
        return {"bootstrap.servers": broker}
    from streams.runtime.link import Link  # a quarter of a second, which a plain link saves
    from streams.settings import load_link

    return Link(broker, load_link(broker)).librdkafka()
