"""Which ids of commands were used before: by this console, or as the archive has the answers.

Owns that an id stands for one order. The worker carries an id out once and is silent about it from
then on, so that another order under it would never be answered.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from streams.codec.records import decode
from streams.console.paths.path import ConflictError
from streams.console.questions.queries import Queries, Scope
from streams.core.incidents.commands import MERGE
from streams.core.privacy.pseudonyms import is_pseudonym
from streams.engine.audit import COMPONENT, MODULE

Record = Mapping[str, Any]
KEPT_MAX: Final = 10_000
"""Orders that are remembered: those of weeks, by people; the archive has those before."""
_WHEN: Final = ("at_us",)
"""What differs when an order is sent again."""


class Repeats:
    """The orders that were given, by the ids that their senders chose."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def check(self, queries: Queries, order: Record) -> None:
        """Take note of an order with an id of its sender's; one that is sent again is the same.

        Raises:
            ConflictError: the id stands for another order.
        """
        id_ = order["command_id"]
        plain = {name: value for name, value in order.items() if name not in _WHEN}
        answered = _answered(queries, id_)
        with self._lock:
            known = self._orders.setdefault(id_, plain)
            self._orders.move_to_end(id_)
            if len(self._orders) > KEPT_MAX:
                self._orders.popitem(last=False)
        if known != plain:
            raise _used(known["actor"], known["command"])
        if answered is not None and not _is_of(answered, order):
            raise _used(answered["actor"], answered["operation"].rpartition(".")[2])


def _used(actor: str, command: str) -> ConflictError:
    return ConflictError(
        f"command_id: it stands for another order already, {command} by {actor}; leave it out, or "
        "choose a new one"
    )


def _answered(queries: Queries, id_: str) -> dict[str, Any] | None:
    """Return the worker's answer to a command of this id, as far as it was read; None for none."""
    rows = queries.ask(
        "SELECT value FROM events WHERE correlation_id = ? AND module = ? AND component = ? "
        "AND event_type = 'AUDIT' ORDER BY timestamp LIMIT 1",
        (id_, MODULE, COMPONENT),
        {"events": Scope(ids={"correlation_id": [id_]})},
    )
    return decode(rows[0]["value"]) if rows else None


def _is_of(answer: Record, order: Record) -> bool:
    """Whether an answer can be one to an order: what is kept as a pseudonym is not compared."""
    about = answer["dimensions"].get("incident_id", "")
    is_it = order["command"] == MERGE or about == order.get("incident_id", "")
    is_theirs = answer["actor"] == order["actor"] or is_pseudonym(answer["actor"])
    return is_it and is_theirs and answer["operation"] == f"incident.{order['command']}"
