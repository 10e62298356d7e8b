"""Recordings of other systems as TelemetryEvents: Jaeger, Zipkin, tables of a warehouse."""
