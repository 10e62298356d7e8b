"""OpenTelemetry's protocol (OTLP): requests of spans, logs and metrics become TelemetryEvents.

Knows no broker: bytes in, events out. `docs/otlp.md` says what becomes of what.
"""
