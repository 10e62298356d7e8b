"""What a metric measures, told from its name: the golden signals, and whose trouble a shift is.

Names come from everywhere (ours, Prometheus exporters, cloud consoles), so they are read word by
word. An unknown name is OTHER: it counts, with less weight.

Source: B. Beyer et al., "Site Reliability Engineering", chapter 6, the four golden signals.
"""

import re
from typing import Final, NamedTuple

LATENCY: Final = "LATENCY"
ERRORS: Final = "ERRORS"
SUCCESS: Final = "SUCCESS"
TRAFFIC: Final = "TRAFFIC"
RESOURCE: Final = "RESOURCE"
HOST: Final = "HOST"
OTHER: Final = "OTHER"

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+[a-z]*|%")
_SIGNALS: Final = (
    (HOST, {"node", "host", "machine"}),
    (SUCCESS, {"success", "availability", "available", "fidelity", "uptime", "hit", "hits"}),
    (
        ERRORS,
        {"error", "errors", "fail", "failed", "failure", "failures", "fault", "faults", "5xx"}
        | {"exception", "exceptions", "timeout", "timeouts", "rejected", "dropped", "panic"}
        | {"retry", "retries", "dead", "unacked", "unacknowledged", "refused", "evicted", "oom"}
        | {"throttled", "throttles", "restarts", "miss", "misses", "violations", "stale"},
    ),
    (
        LATENCY,
        {"latency", "duration", "delay", "rtt", "age", "lag", "wait", "p50", "p90"}
        | {"timeliness", "freshness"},
    ),
    (
        RESOURCE,
        {"cpu", "memory", "mem", "disk", "heap", "gc", "thread", "threads", "fd", "fds"}
        | {"connections", "pool", "queue", "depth", "backlog", "saturation", "utilization"}
        | {"usage", "capacity", "iops", "swap", "load", "inflight", "buffer", "filesystem"},
    ),
    (
        TRAFFIC,
        {"workload", "request", "requests", "throughput", "qps", "rps", "ops", "rate", "received"}
        | {"sent", "bytes", "records", "messages", "count", "volume", "calls", "transmit"},
    ),
)
_LATENCY_UNITS: Final = {"ms", "seconds", "us"}


class MetricKind(NamedTuple):
    """What a metric is: its signal, the side it is seen from, and whether it is in percent."""

    signal: str
    is_client: bool
    is_percent: bool

    @property
    def alarms(self) -> bool:
        """Say whether a shift is trouble by itself, and the module's own."""
        return not self.is_client and self.signal in (LATENCY, ERRORS, SUCCESS, RESOURCE)

    @property
    def rises(self) -> bool:
        """Say whether a rise can be a fault."""
        return self.signal != SUCCESS

    @property
    def falls(self) -> bool:
        """Say whether a fall can be a fault."""
        return self.signal in (SUCCESS, TRAFFIC, OTHER)


def metric_kind(name: str) -> MetricKind:
    """Read a metric's name; the first signal in the table that one of its words names wins."""
    words = {word.lower() for word in _WORD.findall(name)}
    signal = next((signal for signal, names in _SIGNALS if words & names), OTHER)
    if signal == OTHER and words & _LATENCY_UNITS:
        signal = LATENCY
    is_percent = "%" in words or "percent" in words
    return MetricKind(signal, bool(words & {"client", "outgoing", "upstream"}), is_percent)
