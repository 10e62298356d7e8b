"""Requests of OTLP that hold more resources and scopes than anybody means: refused at once."""

import json
import re

import pytest

from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import LOGS, METRICS, PARTS, SPANS
from streams.codec.otlp.services import Services
from streams.codec.otlp.split import SCOPES_MAX
from streams.codec.schemas import default_schemas
from streams.errors import RecordError

SCHEMA = default_schemas().current("telemetry_event")
CROWD = SCOPES_MAX + 1
EMPTY = b"\x12\0" * CROWD
SCOPES = b"\x0a\xc2\x9a\x0c" + EMPTY
"""A resource with so many empty scopes."""
STRANGE = b"\xf8\x7f\x01"
"""A field that is not known: such a request is the official reader's."""
CROWDS = {
    "resources": b"\x0a\0" * CROWD,
    "scopes": SCOPES,
    "both": b"\x0a\x02\x12\0" * (CROWD // 2 + 1),
    "resources and what is not known": b"\x0a\0" * CROWD + STRANGE,
    "scopes and what is not known": SCOPES + STRANGE,
    "what is not known and scopes": STRANGE + SCOPES,
}


def bodies(kind: str, value: bytes) -> list[bytes]:
    return OtlpEncoder(SCHEMA, Services()).bodies(kind, value)


@pytest.mark.parametrize("kind", [SPANS, LOGS, METRICS])
@pytest.mark.parametrize("name", CROWDS)
def test_resources_and_scopes_have_a_bound(kind: str, name: str) -> None:
    """8 MiB of empty scopes, 10 KB as gzip, took 48 s of CPU and a gigabyte and a half."""
    with pytest.raises(RecordError, match=f"more than {SCOPES_MAX} resources") as caught:
        bodies(kind, CROWDS[name])
    assert caught.value.reason == "otlp_too_large"


@pytest.mark.parametrize("kind", [SPANS, LOGS, METRICS])
def test_resources_and_scopes_of_json_have_the_same_bound(kind: str) -> None:
    """Whichever of them are many."""
    resources, scopes, _ = PARTS[kind]
    for tree in ({resources: [{}] * CROWD}, {resources: [{scopes: [{}] * CROWD}]}):
        with pytest.raises(RecordError, match=f"more than {SCOPES_MAX} resources"):
            bodies(kind, json.dumps(tree).encode())


def test_as_many_resources_as_the_bound_are_read() -> None:
    """One less than too many."""
    assert bodies(SPANS, b"\x0a\0" * SCOPES_MAX) == []


@pytest.mark.parametrize("kind", [SPANS, LOGS, METRICS])
def test_a_list_has_one_spelling(kind: str) -> None:
    """Of two the official reader takes the last, and the bound would be looked for in the other."""
    name = PARTS[kind][0]
    snake = re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)
    for first in ([], None):
        with pytest.raises(RecordError, match=f"both {name} and {snake}"):
            bodies(kind, json.dumps({name: first, snake: [{}] * CROWD}).encode())
