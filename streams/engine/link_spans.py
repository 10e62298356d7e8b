"""Links as synthetic spans: events of `spanloom.links.v1`, which the join reads like late spans.

Invariant: an event is a function of its link alone, its ids included, so that a link told twice is
one span, and another link is another span.
"""

from hashlib import blake2b
from math import nan
from typing import Any, Final

from streams.core.incidents.topology import Topology
from streams.core.traces.links import COMPONENT, LINK_WITHDRAWN, Link, dimensions_of

WRITER: Final = "spanloom"
"""Actor of every synthetic span, and its module where the contract names none for the stage."""
_SAMPLED: Final = 1


def link_event(link: Link, topology: Topology) -> dict[str, Any]:
    """Return the synthetic span that tells a trace of a link.

    Returns:
        A record of schemas/telemetry_event.v1.avsc.
    """
    linked = [{"trace_id": other.trace_id, "span_id": other.span_id} for other in link.others]
    return _event(link, topology, link.name, dimensions_of(link), linked)


def withdrawal_event(link: Link, topology: Topology) -> dict[str, Any]:
    """Return the synthetic span that takes a link back which no longer holds.

    Returns:
        A record of schemas/telemetry_event.v1.avsc.
    """
    return _event(link, topology, LINK_WITHDRAWN, {"relation": link.relation}, [])


def _event(
    link: Link,
    topology: Topology,
    name: str,
    dimensions: dict[str, str],
    linked: list[dict[str, str]],
) -> dict[str, Any]:
    digest = blake2b(repr((name, *link)).encode(), digest_size=24).digest()
    return {
        "event_id": _uuid(digest[:16]),
        "trace_id": link.trace_id,
        "span_id": _span_id(digest[16:]),
        "parent_span_id": link.parent_span_id,
        "timestamp": link.timestamp_us,
        "module": topology.module_of(link.edge.flow, link.edge.to_stage) or WRITER,
        "component": COMPONENT,
        "event_type": "TRACE",
        "severity": "INFO",
        "name": name,
        "value": nan,
        "unit": "",
        "dimensions": dimensions,
        "record_id": link.record_id,
        "batch_id": link.batch_id,
        "correlation_id": "",
        "operation": "LINK",
        "actor": WRITER,
        "duration_us": 0,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": _SAMPLED,
        "links": linked,
    }


def _uuid(octets: bytes) -> str:
    """Return 16 bytes in the form of a UUID v4, which event ids have."""
    number = bytearray(octets)
    number[6] = 0x40 | number[6] & 0x0F
    number[8] = 0x80 | number[8] & 0x3F
    text = number.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _span_id(octets: bytes) -> str:
    """Return 8 bytes as a span id, which must not be all zeros."""
    return (octets if any(octets) else b"\0" * 7 + b"\1").hex()
