"""Hostile requests, made from the description of the collector: none is an error of ours.

What it says is what it does: each answer's status, type and shape are described; what it allows is
taken or refused with a word, and what is in no form is refused.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streams.collector.request import FORMS, PATHS, forms_of
from tests.unit.collector.asked import Asked, asked
from tests.unit.collector.hostile import register

EXAMPLES = {GenerationMode.POSITIVE: 60, GenerationMode.NEGATIVE: 12}
"""What is forbidden costs 20 times as much to make as what is allowed."""
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
FORMS_HERE = sorted(
    (path, media)
    for path, kind in PATHS.items()
    for media in FORMS
    if FORMS[media] in forms_of(kind)
)


@pytest.fixture(scope="module")
def at() -> Iterator[Asked]:
    """Yield a collector that anybody may send to."""
    with asked() as made:
        yield made


@pytest.fixture(scope="module")
def described(at: Asked) -> Any:
    """Return its interface as its own description has it."""
    register()
    return schemathesis.openapi.from_asgi("/openapi.json", at.app)


def test_the_description_is_valid_and_has_every_path(described: Any) -> None:
    """By the specification of OpenAPI; each form that is taken is there."""
    described.validate()
    paths = described.raw_schema["paths"]
    assert set(paths) == {*PATHS, "/health", "/ready", "/metrics", "/openapi.json"}
    for path, media in FORMS_HERE:
        assert media in paths[path]["post"]["requestBody"]["content"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda m: m.value)
def test_no_request_is_an_error_of_ours(
    path: str, mode: GenerationMode, described: Any, at: Asked
) -> None:
    """Whatever the description allows, and what it forbids, in every form that it names."""
    asked_of: set[str | None] = set()

    @settings(
        max_examples=EXAMPLES[mode],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described[path]["POST"].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        asked_of.add(case.media_type)
        case.call_and_validate(checks=CHECKS)

    ask()
    if mode is GenerationMode.POSITIVE:
        assert asked_of == {media for of, media in FORMS_HERE if of == path}
        codes = {code for (of, code), _ in at.meters.requests.items() if of == path}
        assert codes >= {200, 400}
    assert at.intake.is_alive
    assert at.edge.held.taken == 0
