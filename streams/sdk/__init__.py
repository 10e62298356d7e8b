"""Instruments a module of a pipeline: a few lines, next to no cost, and no harm. See docs/sdk.md.

Imports nothing but the standard library and small modules of this package; the Kafka client comes
with the first event, in a thread of its own.
"""

from streams.sdk.errorqueue import ErrorEntry
from streams.sdk.header import MessageHeader
from streams.sdk.reports import Counts
from streams.sdk.span import Context, Span, current
from streams.sdk.telemetry import Telemetry

__all__ = ["Context", "Counts", "ErrorEntry", "MessageHeader", "Span", "Telemetry", "current"]
