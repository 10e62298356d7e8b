"""Reads the events of records of the telemetry topics one by one: those of ours, and those of OTLP.

For commands that look at topics beside the worker; nothing is judged here, and nothing is kept.
"""

from collections.abc import Sequence
from typing import Final

from streams.codec import wire
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.records import Record, decode_body, decode_events
from streams.codec.schemas import default_schemas
from streams.runtime.build import Pipeline, services_of
from streams.runtime.reading import Message, Reading

EXPORTER_TOPICS: Final = ("otlp_spans", "otlp_logs", "otlp_metrics")
"""Source: opentelemetry-collector-contrib, `exporter/kafkaexporter`, the topics by default."""


class SentEvents:
    """Reads the events of a deployment's telemetry topics.

    Args:
        pipeline: says which topics hold OTLP, and which module each service is.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._schema = default_schemas().current("telemetry_event")
        self._encoder = OtlpEncoder(self._schema, services_of(pipeline.contract))
        self._kinds = pipeline.otlp

    def of(self, message: Message) -> Sequence[Record]:
        """Return the events of a record, as the worker makes them of it.

        Raises:
            RecordError: as `decode_events`; of OTLP `empty_value`, `invalid_otlp` or
                `otlp_too_large`.
        """
        kind, value = self._kinds.get(message.topic), message.value or b""
        if kind is None or value[:1] == bytes([wire.MAGIC]):  # one that was driven again
            return decode_events(message.value)
        return [decode_body(self._schema, body) for body in self._encoder.bodies(kind, value)]


def unread_exporter_topics(reading: Reading, pipeline: Pipeline) -> list[str]:
    """Return the topics that OpenTelemetry's exporter writes by default, and nobody named."""
    there = reading.topics()
    return [topic for topic in EXPORTER_TOPICS if topic in there and topic not in pipeline.otlp]
