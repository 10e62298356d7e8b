"""An OTLP request as the bodies of its events, one after the other: what a batch message holds.

Invariant: the bodies are canonical Avro; their bytes depend on the request alone; they take at most
`EXPANSION_MAX` times the request's bytes, so that a small message cannot fill the memory.
"""

from collections import Counter
from typing import Final

from streams.codec.eventid import event_id
from streams.codec.otlp.events import events_of
from streams.codec.otlp.requests import request_of
from streams.codec.otlp.services import Services
from streams.codec.records import encode_body
from streams.codec.schemas import Schema
from streams.errors import RecordError

TOO_LARGE: Final = "otlp_too_large"
EXPANSION_MAX: Final = 64
"""Resource and scope are repeated in each event: of log lines of 60 bytes a resource of 2 KiB
makes 35 times as much."""
BODIES_BYTES_MIN: Final = 64 << 10
"""So much any request may become."""


class OtlpEncoder:
    """Makes event bodies of requests.

    Args:
        schema: the current schema of TelemetryEvent, parsed, without logical types.
        services: finds modules.
    """

    def __init__(self, schema: Schema, services: Services) -> None:
        self._schema = schema
        self._services = services

    def bodies(self, kind: str, value: bytes, most_bytes: int | None = None) -> list[bytes]:
        """Return the bodies of a request's events, in its order.

        Args:
            kind: SPANS, LOGS or METRICS.
            value: the request, protobuf or JSON.
            most_bytes: what they may take at most, whatever the request's size is.

        Raises:
            RecordError: `empty_value`, `invalid_otlp` or `otlp_too_large`.
        """
        request = request_of(kind, value)
        bytes_max = max(BODIES_BYTES_MIN, EXPANSION_MAX * len(value))
        if most_bytes is not None:
            bytes_max = min(bytes_max, most_bytes)
        bodies: list[bytes] = []
        total_bytes = 0
        seen: Counter[bytes] = Counter()
        for event in events_of(request, self._services):
            body = encode_body(self._schema, event)
            if not event["event_id"]:
                event["event_id"] = event_id(body + b"%d" % seen[body])
                seen[body] += 1
                body = encode_body(self._schema, event)
            total_bytes += len(body)
            if total_bytes > bytes_max:
                raise RecordError(
                    TOO_LARGE, f"{len(value)} bytes make events of more than {bytes_max}"
                )
            bodies.append(body)
        return bodies
