"""What descriptions of our interfaces share, OpenAPI 3.1: the frame around their paths."""

from collections.abc import Mapping
from typing import Any, Final

from streams import __version__

Schema = dict[str, Any]

ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
"""What is said of a request that is not answered."""
KEY: Final = ("key", {"type": "http", "scheme": "bearer"})
"""A key, as those who have one send it."""


def reference(name: str) -> Schema:
    """Return what stands for a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def document(
    title: str,
    paths: Mapping[str, Mapping[str, Any]],
    schemas: Mapping[str, Schema],
    security: tuple[str, Mapping[str, str]] | None,
) -> dict[str, Any]:
    """Return a description.

    Args:
        title: of the interface.
        paths: operations by path and method.
        schemas: by the names that operations call them by.
        security: name and scheme of what opens it; None when it is open.
    """
    components: dict[str, Any] = {"schemas": dict(schemas)}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": dict(paths),
        "components": components,
    }
    if security is not None:
        name, scheme = security
        made["security"] = [{name: []}]
        components["securitySchemes"] = {name: dict(scheme)}
    return made
