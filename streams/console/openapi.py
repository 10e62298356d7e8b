"""The description of the interface, OpenAPI 3.1, made of what serves it."""

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from streams.console import arrow
from streams.console.asked import described
from streams.console.paths.path import Path
from streams.serving.openapi import ERROR, KEY, document, reference

_ALWAYS: Final = {
    "400": "The question is wrong: `error` says how.",
    "401": "Nobody is logged in.",
    "403": "The role is missing, or a page of another site asks.",
    "414": "The address is too long.",
    "429": "Too many requests; come again after `Retry-After` seconds.",
    "503": "It cannot be answered now, or took too long: `error` says which.",
}

_TEXT: Final = {"type": "string", "minLength": 1}
_NUMBERS: Final = {
    "partition": {"type": "integer", "minimum": 0, "maximum": (1 << 31) - 1},
    "offset": {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1},
}
"""Names in a path that are numbers; all others are text."""


_OTHERS: Final = {
    "/api/v1/health": (
        "The console's own health: what it waits for, how far it is behind, how its archive grows.",
        "application/json",
        {"503": ("Reading has ended: the same, with `healthy` false.", {"type": "object"})},
    ),
    "/api/v1/live": (
        "News as server-sent events: fidelity, incidents, health, pipeline, trouble.",
        "text/event-stream",
        {"503": ("Too many look on.", reference("Error"))},
    ),
}
"""What is served otherwise than by a `Path`: its summary, its type, its own refusals."""


def openapi(described_paths: Iterable[Path], there: Container[str] = ()) -> dict[str, Any]:
    """Return the description of some paths, and of those others that are there."""
    paths: dict[str, Any] = {
        path: {"get": _other(*about)} for path, about in _OTHERS.items() if path in there
    }
    schemas: dict[str, Any] = {"Error": ERROR}
    for one in described_paths:
        about = _operation(one)
        if one.body is not None:
            schema = one.body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            content = {"application/json": {"schema": schema}}
            about["requestBody"] = {"required": True, "content": content}
        paths.setdefault(one.path, {})[one.method.lower()] = about
    return document("Spanloom console", paths, schemas, KEY)


def _other(
    summary: str, media: str, refusals: Mapping[str, tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    told = {code: (words, reference("Error")) for code, words in _ALWAYS.items()}
    answers: dict[str, Any] = {"200": {"description": "The answer.", "content": {media: {}}}}
    for code, (words, schema) in sorted({**told, **refusals}.items()):
        content = {"application/json": {"schema": schema}}
        answers[code] = {"description": words, "content": content}
    return {"summary": summary, "x-role": "viewer", "parameters": [], "responses": answers}


def _operation(one: Path) -> dict[str, Any]:
    names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
    inside = [
        {"name": name, "in": "path", "required": True, "schema": _NUMBERS.get(name, _TEXT)}
        for name in names
    ]
    answers = {"202" if one.is_order else "200": "The answer."} | _ALWAYS
    if names:
        answers["404"] = "There is none of that id."
    if one.is_order:
        answers |= {"404": "There is none of that id.", "409": "It does not fit what there is."}
    if one.body is not None:
        answers |= {"408": "The request did not come to its end.", "413": "It is too long."}
    failed = reference("Error")
    well: dict[str, Any] = {"application/json": {}}
    if one.table:
        well[arrow.MEDIA] = {}
    return {
        "summary": one.summary,
        "x-role": one.role,
        "parameters": inside + [described(p) for p in one.parameters],
        "responses": {
            code: {
                "description": words,
                "content": {"application/json": {"schema": failed}} if code >= "400" else well,
            }
            for code, words in sorted(answers.items())
        },
    }
