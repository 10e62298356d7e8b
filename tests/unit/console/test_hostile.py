"""Hostile requests, made from the interface's own description: none is an error of ours.

What it says is what it does: each answer's status, type and shape are described, and what the
description forbids is refused.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from streams.console.access.audit_log import AccessLog
from streams.console.archive.erasing import Erased
from streams.console.paths import about, commands, erasure, rejected
from streams.console.paths.every import PATHS
from streams.console.paths.pipeline import pipeline_paths
from streams.console.redriven import Redriven
from tests.unit.console.asking import Asked

EXAMPLES = 12
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
)
PATHS_HERE = sorted(
    (one.path, one.method)
    for one in (
        *PATHS,
        *commands.paths(lambda _: None),
        *rejected.paths(Redriven(None), lambda _: None, lambda _: 0),
        *about.paths(dict),
        *pipeline_paths(),
        *erasure.paths(None, lambda _: Erased({}, 0), AccessLog(None)),
    )
)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Yield a console that wants keys, without a pace."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    limits: dict[str, Any] = {"requests_per_second": 1e6, "requests_burst": 1_000_000}
    with ThreadPoolExecutor(2) as threads:
        made = Asked(folder, threads, limits)
        made.access.failures._burst = 1e9  # it sends wrong keys too
        made.tokens["admin"] = made.new_key("admin")
        made.clock.now += 10
        yield made


@pytest.fixture(scope="module")
def headers(console: Asked) -> dict[str, str]:
    """Return what lets an admin in."""
    return {"Authorization": f"Bearer {console.tokens['admin']}", "Host": "localhost"}


@pytest.fixture(scope="module")
def described(console: Asked, headers: dict[str, str]) -> Any:
    """Return the interface as its own description has it."""
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", console.app, headers=headers)


def test_the_description_is_valid(described: Any) -> None:
    """By the specification of OpenAPI, and it has every path."""
    described.validate()
    found = {(one.ok().path, one.ok().method) for one in described.get_all_operations()}
    assert found == {(path, method.lower()) for path, method in PATHS_HERE}


@pytest.mark.parametrize(("path", "method"), PATHS_HERE)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda m: m.value)
def test_no_request_is_an_error_of_ours(
    path: str,
    method: str,
    mode: GenerationMode,
    described: Any,
    headers: dict[str, str],
    console: Asked,
) -> None:
    """Whatever the description allows, and what it forbids."""
    operation = described[path][method]
    asked = 0
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except Unsatisfiable:
        return  # nothing can be wrong about what has no parameters

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()
    assert asked
    if mode is GenerationMode.POSITIVE:  # else it would allow what is never answered
        codes = {code for (of, code), _ in console.meters.requests.items() if of == path}
        assert codes & {200, 202, 404}
