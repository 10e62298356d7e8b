"""Requests of OTLP become wire values, one an event."""

from typing import Final

from streams.codec import wire
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import INVALID, is_json
from streams.codec.otlp.services import Services
from streams.codec.schemas import default_schemas
from streams.collector.request import Form, Kind
from streams.errors import RecordError

EVENTS_BYTES_MAX: Final = 128 << 20
"""Of one request: resource and scope are repeated in each of its events."""
_EVENT: Final = "telemetry_event"


class OtlpValues:
    """Reads requests.

    Args:
        services: finds the modules of services.
    """

    def __init__(self, services: Services) -> None:
        schemas = default_schemas()
        self._encoder = OtlpEncoder(schemas.current(_EVENT), services)
        self._header = wire.header(schemas.id_of(_EVENT))

    def values_of(self, kind: Kind, form: Form, body: bytes) -> list[tuple[int, bytes]]:
        """Return the wire values of a request's events by their position; a request may be empty.

        Raises:
            RecordError: `invalid_otlp` or `otlp_too_large`.
        """
        if form == "json":
            body = body.lstrip(b" \t\r\n")
            if not is_json(body):
                raise RecordError(INVALID, "no JSON object")
        elif not body:
            return []  # a message without fields takes no bytes
        elif is_json(body):
            raise RecordError(INVALID, "JSON; its Content-Type says protobuf")
        header = self._header
        bodies = self._encoder.bodies(kind, body, EVENTS_BYTES_MAX)
        return [(index, header + one) for index, one in enumerate(bodies)]
