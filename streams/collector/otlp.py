"""Requests of OTLP become event bodies: quickly and together where they can, else one by one."""

from collections.abc import Sequence
from typing import Final

from streams.codec import wire
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.quick import QuickSpans, SpanRun
from streams.codec.otlp.quicklines import QuickHashed, QuickLines
from streams.codec.otlp.quickpoints import QuickPoints
from streams.codec.otlp.requests import INVALID, LOGS, METRICS, SPANS, TOO_LARGE, is_json
from streams.codec.otlp.services import Services
from streams.codec.schemas import default_schemas
from streams.collector.request import Form, Kind
from streams.errors import RecordError

EVENTS_MAX: Final = 50_000
"""Of one request: OpenTelemetry's batches have some thousand."""
OBJECTS_MAX: Final = 400_000
"""Of one request in JSON, which is read several times slower than protobuf: 8 MiB of real spans
have no more."""
EVENTS_BYTES_MAX: Final = 128 << 20
"""Of one request: resource and scope are repeated in each of its events."""
_EVENT: Final = "telemetry_event"
QUICK_KINDS: Final[tuple[Kind, ...]] = ("spans", "logs", "metrics")
"""Of these, requests may be read together."""


class OtlpValues:
    """Reads requests.

    Args:
        services: finds the modules of services.
        has_columns: whether spans become columns before their bodies are looked at; where
            something is treated, they do not.
    """

    def __init__(self, services: Services, *, has_columns: bool = True) -> None:
        schemas = default_schemas()
        self._encoder = OtlpEncoder(schemas.current(_EVENT), services, EVENTS_BYTES_MAX, EVENTS_MAX)
        self._spans = QuickSpans(self._encoder, has_columns=has_columns)
        self._hashed: dict[str, QuickHashed] = {
            LOGS: QuickLines(self._encoder),
            METRICS: QuickPoints(self._encoder),
        }
        self._header = wire.header(schemas.id_of(_EVENT))

    @staticmethod
    def is_quick(kind: Kind, form: Form, body: bytes) -> bool:
        """Whether a request may be read together with others."""
        if kind not in QUICK_KINDS or not body:
            return False
        is_bounded = form == "protobuf" or body.count(b"{") <= OBJECTS_MAX
        return is_json(body) == (form == "json") and is_bounded

    def run(self, kind: Kind, bodies: Sequence[bytes]) -> SpanRun | None:
        """Return the spans of quick requests, or their log records, or data points.

        Those it counts none of have to be read otherwise. None where all of them have to.
        """
        if not bodies:
            return None
        return self._spans.run(bodies) if kind == SPANS else self._hashed[kind].run(bodies)

    def values_of(self, kind: Kind, form: Form, body: bytes) -> list[bytes]:
        """Return the wire values of a request's events in their order; a request may be empty.

        Raises:
            RecordError: `invalid_otlp` or `otlp_too_large`.
        """
        if form == "json":
            body = body.lstrip(b" \t\r\n")
            if not is_json(body):
                raise RecordError(INVALID, "no JSON object")
            if body.count(b"{") > OBJECTS_MAX:
                raise RecordError(TOO_LARGE, f"more than {OBJECTS_MAX} objects in JSON")
        elif not body:
            return []  # a message without fields takes no bytes
        elif is_json(body):
            raise RecordError(INVALID, "JSON; its Content-Type says protobuf")
        header = self._header
        return [header + one for one in self._encoder.bodies(kind, body)]
