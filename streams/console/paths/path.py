"""What a path of the interface is, and the conditions that several of them share.

Owns the description of a path: the server, the OpenAPI document and the access rules read it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel

from streams.console.asked import Parameter
from streams.console.personal import Kept
from streams.console.questions.queries import Queries, Where
from streams.errors import ConfigError
from streams.serving.roles import Role

STATUSES: Final = ("COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED")
SEVERITIES: Final = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
"""From the least to the gravest."""

Ask = Callable[[Queries, dict[str, Any], Mapping[str, str]], Any]


class ConflictError(Exception):
    """An order does not fit what there is; says why."""


class Path(NamedTuple):
    """One path.

    Attributes:
        path: with {names} in it.
        summary: what it answers.
        parameters: of the query.
        ask: returns the answer, None for what is not there; given what was asked (with a `body`
            where there is one, and the `actor` who asks) and the names of the path.
        method: of HTTP.
        body: what a request carries as JSON; None for nothing.
        table: the name of the answer's list that is a table, also told as Arrow; "" for none.
        command: what `spanloom query` calls it; "" for what is not asked there.
        role: what who asks must have.
        is_order: whether it changes something: it is written down, and answered 202.
        is_for_worker: of an order, whether a worker carries it out.
    """

    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    ask: Ask
    method: Literal["GET", "POST"] = "GET"
    body: type[BaseModel] | None = None
    table: str = ""
    command: str = ""
    role: Role = "viewer"
    is_order: bool = False
    is_for_worker: bool = False


def range_of(asked: Mapping[str, Any]) -> tuple[int, int]:
    """Return [start, end) in microseconds.

    Raises:
        ConfigError: it ends before it begins.
    """
    if asked["end"] < asked["start"]:
        raise ConfigError("end: before start")
    return asked["start"], asked["end"]


def equal(asked: Mapping[str, Any], *names: str) -> list[Where]:
    """Return the conditions that columns have the values asked for, of those that were given."""
    return [Where(f"{name} = ?", (asked[name],)) for name in names if asked[name] is not None]


def among(asked: Mapping[str, Any], kept: Kept, **columns: str) -> list[Where]:
    """Return the conditions that columns of lists have the values asked for, by parameter.

    Raises:
        PersonalError: as `kept`, which says what the archive has in place of a value.
    """
    return [
        Where(f"list_has_any({column}, ?::VARCHAR[])", (kept(name, asked[name]),))
        for name, column in columns.items()
        if asked[name] is not None
    ]
