"""Bodies for requests made from the collector's description: right ones, and right ones broken.

JSON is made of the description's own schemas; the other forms have none, so bytes for them are made
here.
"""

import json

import schemathesis
from hypothesis import strategies as st

from streams.codec.records import encode
from streams.collector.replies import PROTOBUF
from tests.otlp_cases import logs, span_of, traces
from tests.unit.collector.at_hand import as_json, event

_SPANS = traces("shop", [span_of(1, n) for n in (1, 2, 3)]).SerializeToString()
_LOGS = logs("shop", []).SerializeToString()
_LINES = b"".join(json.dumps(as_json(event(1, n))).encode() + b"\n" for n in (1, 2))
_AVRO = encode("telemetry_event", event())
_BATCH = encode("telemetry_batch", {"events": [event(1, n) for n in (1, 2)]})


@st.composite
def broken(draw: st.DrawFn, *whole: bytes) -> bytes:
    """Return bytes that are right, with some cut out, doubled or others in their place."""
    body = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 16)))
        inner = draw(st.one_of(st.binary(max_size=16), st.just(body[begin:end] * 2)))
        body = body[:begin] + inner + body[end:]
    return body


def _bytes(*whole: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(broken(*whole), st.binary(max_size=64))


def register() -> None:
    """Tell schemathesis how bodies are made of which the description knows no schema."""
    protobuf = _bytes(_SPANS, _LOGS)
    schemathesis.openapi.media_type(PROTOBUF, protobuf, aliases=["application/protobuf"])
    lines = _bytes(_LINES)
    schemathesis.openapi.media_type("application/x-ndjson", lines, aliases=["application/jsonl"])
    avro = _bytes(_AVRO, _BATCH)
    more = ["avro/binary", "application/octet-stream"]
    schemathesis.openapi.media_type("application/avro", avro, aliases=more)
