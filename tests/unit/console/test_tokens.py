"""Continuation tokens belong to one question, and nothing that is made up gets further than 400."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.tokens import bound, digest_of, key_of, token_of, unbound
from streams.errors import ConfigError
from streams.runtime import topics
from tests.unit.console.at_hand import (
    T0_US,
    TELEMETRY,
    archive_in,
    event,
    incident,
    message,
    trace,
)
from tests.unit.console.test_questions import RANGE, Post, ask_of

AUDIT = "/api/v1/audit/query"
TRACES = f"/api/v1/traces?start={RANGE['start']}&end={RANGE['end']}"
WORDS = "continuation_token: not one that this answer gave"
_NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
_TEXTS = st.text(max_size=30)
_ASKED = st.dictionaries(st.sampled_from(["flow", "status", "start"]), _NUMBERS | _TEXTS)


def coded(value: Any) -> str:
    """Return a value in the form of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """Yield how to ask an archive of some traces, incidents and events."""
    archive = archive_in(tmp_path_factory.mktemp("archive"))
    for n in range(6):
        one = trace(f"{n + 1:032x}", start=T0_US + n, revision=1, spans=[], missing=[])
        archive.take(message(topics.TRACES, n, one))
        archive.take(message(topics.INCIDENTS, n, incident(f"{n + 1:032x}", version=1)))
        about = {"event_id": f"e-{n}", "timestamp": T0_US + n, "record_id": f"r-{n}"}
        archive.take(message(TELEMETRY, n, event("log", trace_id="", **about)))
    with ask_of(archive) as ask:
        yield ask


@given(key=st.tuples(_NUMBERS, _TEXTS), asked=_ASKED, other=_ASKED)
def test_a_token_is_one_of_its_question_alone(
    key: tuple[int, str], asked: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whatever page it asks for, and however long pages are."""
    digest = digest_of("/a", asked)
    token = bound(token_of(key), digest)
    again = digest_of("/a", {"limit": 3, **asked, "continuation_token": token})
    assert key_of(unbound(token, again), (int, str)) == key
    strange = digest_of("/b", asked), digest_of("/a", other | {"module": "ALPHA"})
    for one in (*strange, *([digest_of("/a", other)] if other != asked else [])):
        with pytest.raises(ConfigError, match=WORDS):
            unbound(token, one)
    assert (bound("", digest), unbound("", digest)) == ("", "")


_VALUES = st.one_of(
    st.integers(), st.text(st.characters()), st.none(), st.booleans(), st.floats(allow_nan=True)
)


@given(made=st.one_of(st.text(), st.lists(_VALUES, max_size=4).map(coded)))
def test_what_is_made_up_is_a_key_or_is_refused(made: str) -> None:
    """A key has numbers as long as columns, and text that can be written."""
    try:
        number, text = key_of(made, (int, str))
    except ConfigError:
        return
    assert type(number) is int
    assert abs(number) <= 1 << 63
    assert text.encode().decode() == text


def test_a_token_of_another_question_is_refused(console: Post) -> None:
    """Of another path, of another condition, of an audit without ids; another limit is none."""
    token = console(f"{TRACES}&limit=2", None).json()["continuation_token"]
    following = console(f"{TRACES}&limit=3&continuation_token={token}", None).json()["traces"]
    assert [one["trace_id"] for one in following] == [f"{n:032x}" for n in (4, 3, 2)]
    audit = {"time_range": RANGE, "limit": 2}
    page = console(AUDIT, audit).json()
    assert page["total_count"] == 6
    more = {"continuation_token": page["continuation_token"]}
    assert console(AUDIT, audit | more).json()["total_count"] == 6
    wrong = [
        console(f"/api/v1/incidents?continuation_token={token}", None),
        console(f"{TRACES}&flow=other&continuation_token={token}", None),
        console(AUDIT, audit | more | {"record_ids": ["r-5"]}),
        console(AUDIT, audit | {"continuation_token": token}),
    ]
    for answer in wrong:
        assert (answer.status_code, answer.json()["error"][: len(WORDS)]) == (400, WORDS)


@pytest.mark.parametrize(
    "key", [[1, "\ud800"], [1 << 63, "x"], [1], [True, "x"], [1, "x", -5], [1, "\ud800", 5]]
)
def test_a_forged_key_is_refused(console: Post, key: list[Any]) -> None:
    """Though its question is right: half a character, a number too long, a total below zero."""
    paged = console(f"{TRACES}&limit=2", None).json()["continuation_token"]
    audit = {"time_range": RANGE, "limit": 2}
    page = console(AUDIT, audit).json()["continuation_token"]
    digest = len(digest_of("", {}))
    told = console(f"{TRACES}&continuation_token={paged[:digest]}{coded(key)}", None)
    found = console(AUDIT, audit | {"continuation_token": page[:digest] + coded(key)})
    for answer in (told, found):
        assert (answer.status_code, answer.json()["error"][: len(WORDS)]) == (400, WORDS)
    assert console(f"{TRACES}&continuation_token={paged[:digest]}", None).status_code == 400
