"""Spanloom: a stream-processing correlation engine for the telemetry of data pipelines."""

__version__ = "0.1.0"
