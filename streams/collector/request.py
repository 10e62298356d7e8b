"""A request on its way through the collector, and what becomes of it.

Owns the names of what can go wrong. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from streams.codec.inflate import Coding

Kind = Literal["events", "spans", "logs", "metrics"]
Form = Literal["json", "lines", "avro", "protobuf"]
PATHS: Final[dict[str, Kind]] = {
    "/v1/traces": "spans",
    "/v1/logs": "logs",
    "/v1/metrics": "metrics",
    "/v1/events": "events",
}
FORMS: Final[Mapping[str, Form]] = {
    "application/json": "json",
    "application/x-protobuf": "protobuf",
    "application/protobuf": "protobuf",
    "application/x-ndjson": "lines",
    "application/jsonl": "lines",
    "application/avro": "avro",
    "avro/binary": "avro",
    "application/octet-stream": "avro",
}
CODINGS: Final[Mapping[str, Coding]] = {
    "": "identity",
    "identity": "identity",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
    "zlib": "deflate",
    "zstd": "zstd",
}
_OF_EVENTS: Final = frozenset[Form]({"json", "lines", "avro"})
_OF_OTLP: Final = frozenset[Form]({"json", "protobuf"})
TOLD_MAX: Final = 10
"""So many rejected events are told one by one; the rest are counted."""


def forms_of(kind: Kind) -> frozenset[Form]:
    """Return the forms in which a request may hold events of a kind."""
    return _OF_EVENTS if kind == "events" else _OF_OTLP


class Refusal(NamedTuple):
    """Why a whole request is not taken.

    Attributes:
        status: of HTTP; `rpc.py` has the code of gRPC for each.
        reason: a bounded name, fit for a metric.
        words: for who sent it.
        wait_seconds: when to come again; 0 for never with this request.
    """

    status: int
    reason: str
    words: str
    wait_seconds: float = 0.0


class Bad(NamedTuple):
    """One event of a request that is not taken.

    Attributes:
        number: its position among the events of the request.
        reason: a bounded name.
        detail: what was found.
        value: its bytes, as far as they can be told from the others.
    """

    number: int
    reason: str
    detail: str
    value: bytes


class Outcome(NamedTuple):
    """What became of a request whose good events are safe.

    Attributes:
        taken: how many events are with Kafka or in the buffer.
        bad: those that were rejected; all of them.
    """

    taken: int
    bad: tuple[Bad, ...] = ()

    @property
    def message(self) -> str:
        """Say why events were rejected: how many for each reason, with one example."""
        first: dict[str, tuple[int, Bad]] = {}
        for one in self.bad:
            count, example = first.get(one.reason, (0, one))
            first[one.reason] = (count + 1, example)
        return "; ".join(
            f"{count} {reason} (the first is number {one.number}: {one.detail})"
            for reason, (count, one) in first.items()
        )


Done = Callable[[Outcome | Refusal], None]


@dataclass(slots=True)
class Request:
    """One request.

    Attributes:
        kind: what it holds.
        form: how that is written.
        coding: how it is compressed.
        body: its bytes as they came.
        source: who sent it: the name of a key, else an address.
        done: told once what became of it, in any thread.
    """

    kind: Kind
    form: Form
    coding: Coding
    body: bytes = field(repr=False)
    source: str
    done: Done
