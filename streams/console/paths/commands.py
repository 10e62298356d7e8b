"""Orders about incidents: taken over the interface, carried out by the worker.

Owns what a request may carry. The rules of an order are the worker's own (`parse_command`); what it
would refuse for its shape is refused here already.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.console.paths.path import Path
from streams.console.paths.repeats import Repeats
from streams.console.questions.queries import Queries
from streams.console.times import time_us
from streams.core.incidents.commands import MERGE, SILENCE, TEXT_MAX, UNSILENCE, parse_command
from streams.errors import ConfigError
from streams.runtime.clock import wall_us
from streams.serving.roles import Actor

Record = Mapping[str, Any]
Give = Callable[[Record], None]
"""Writes a command to its topic; returns when the broker has it."""
Text = Annotated[str, Field(max_length=TEXT_MAX)]
_NEEDED: Final = {"into": (MERGE,), "until": (SILENCE,), "silence_id": (UNSILENCE,)}
"""Fields by the commands that know them."""


class Order(BaseModel):
    """What to do with an incident.

    Attributes:
        command: what to do.
        reason: why; it is kept with the incident.
        actor: who orders it; only while nobody logs in.
        command_id: sent again with the same id it counts once, and another order may not have it;
            made here if absent.
        into: of a merge, the incident that takes this one over.
        until: of a silence, when it ends; ISO 8601.
        silence_id: of the end of a silence, the one that ends; absent for all of the incident.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    command: Literal["ack", "resolve", "merge", "silence", "unsilence"]
    reason: Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
    actor: Text | None = None
    command_id: Text | None = None
    into: Text | None = None
    until: Text | None = None
    silence_id: Text | None = None


def record_of(
    order: Order, incident_id: str, actor: Actor, now_us: int, id_: str
) -> dict[str, Any]:
    """Return a command as the worker reads it.

    Raises:
        ConfigError: a field is missing, or is none of the command's; names it.
    """
    for name, commands in _NEEDED.items():
        if getattr(order, name) is not None and order.command not in commands:
            raise ConfigError(f"{name}: not of the command {order.command}")
    if order.actor is not None and actor.how != "none":
        raise ConfigError("actor: leave it out; who is logged in orders it")
    found: dict[str, Any] = {
        "command": order.command,
        "incident_id": incident_id,
        "actor": actor.name if order.actor is None else order.actor,
        "reason": order.reason,
        "command_id": order.command_id or id_,
        "at_us": now_us,
    }
    if order.into is not None:
        found["into"] = order.into
    if order.until is not None:
        found["until_us"] = time_us(order.until, "until")
    if order.silence_id is not None:
        found["silence_id"] = order.silence_id
        del found["incident_id"]  # one of them says which silence is meant
    fault = parse_command(found, now_us).fault
    if fault:
        raise ConfigError(fault.replace("until_us", "until"))
    return found


def paths(give: Give) -> tuple[Path, ...]:
    """Return the path that takes orders.

    Args:
        give: writes one to its topic.
    """
    repeats = Repeats()

    def order(queries: Queries, asked: dict[str, Any], path: Mapping[str, str]) -> Any:
        now_us = wall_us()
        new_id = uuid.uuid4().hex
        record = record_of(asked["body"], path["incident_id"], asked["actor"], now_us, new_id)
        if record["command_id"] != new_id:
            repeats.check(queries, record)
        give(record)
        return {"command_id": record["command_id"]}

    return (
        Path(
            "/api/v1/incidents/{incident_id}/commands",
            "Order what becomes of an incident: the worker answers with an event of it.",
            (),
            order,
            "POST",
            Order,
            role="operator",
            is_order=True,
            is_for_worker=True,
        ),
    )
