"""Rejected records: a list, one with its bytes, and driven again.

Owns when a record may be driven again: once, with its own bytes, to where it came from, with a
header that says so.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from streams.codec.records import Record
from streams.console.asked import COUNT, END, START, TOKEN, Parameter
from streams.console.paths.path import ConflictError, Path, equal, range_of
from streams.console.questions.queries import Queries
from streams.console.redriven import Origin, Redriven
from streams.errors import ConfigError, RightError
from streams.runtime.sending import Outgoing

HEADER: Final = "spanloom-redriven-from"
"""Of a record that was driven again: TOPIC/PARTITION/OFFSET where it was rejected."""
OFFSET_MAX: Final = (1 << 63) - 1
PARTITION_MAX: Final = (1 << 31) - 1


class Whole(NamedTuple):
    """A record as its topic holds it."""

    key: bytes | None
    value: bytes | None


Fetch = Callable[[Origin], Whole | None]
"""Returns a record as its topic holds it, None when it is gone."""
Send = Callable[[Outgoing], int]
"""Writes a record; returns its offset when the broker has it."""


def _rejected(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = range_of(asked)
    where = equal(asked, "reason", "topic")
    page, counts = queries.rejected(
        start_us, end_us, where, asked["limit"], asked["continuation_token"] or ""
    )
    return {
        "rejected": page.rows,
        "by_reason": counts,
        "continuation_token": page.continuation_token,
    }


def _number(path: Mapping[str, str], name: str, most: int) -> int:
    text = path[name]
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > most:
        raise ConfigError(f"{name}: a whole number from 0 to {most}")
    return int(text)


def told(record: Record, state: str, *, is_treated: bool = False) -> dict[str, Any]:
    """Return a rejected record as the interface tells it, its bytes in base64.

    Args:
        record: as the archive has it.
        state: whether it was driven again.
        is_treated: its bytes are not those that came: nothing personal is in them.
    """
    whole = len(record["value"]) >= record["value_bytes"] and not is_treated
    return {
        **{n: record[n] for n in ("reason", "detail", "topic", "partition", "offset", "timestamp")},
        "key_base64": base64.b64encode(record["key"]).decode(),
        "value_base64": base64.b64encode(record["value"]).decode(),
        "value_bytes": record["value_bytes"],
        "is_whole": whole,
        "redriven": state,
    }


class Redrive(BaseModel):
    """A record to be driven again.

    Attributes:
        topic, partition, offset: where it was rejected.
        reason: why; it is written down.
        again: also when a crash left unknown whether it was driven before.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    topic: Annotated[str, Field(min_length=1, max_length=249)]
    partition: Annotated[int, Field(ge=0, le=PARTITION_MAX)]
    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)]
    reason: Annotated[str, Field(max_length=1_024)] = ""
    again: bool = False


def redrive(
    order: Redrive,
    actor: str,
    record: Record,
    book: Redriven,
    fetch: Fetch,
    send: Send,
    *,
    is_treated: bool = False,
) -> dict[str, Any]:
    """Drive a record again, and return where it went.

    A record that was treated is sent as its topic has it: the archive has not what came.

    Raises:
        ConflictError: it was driven before, or its bytes are gone.
        BrokerError: it could not be sent; whoever tries again says so.
        StateError: it could not be written down, so it was not sent.
    """
    origin = Origin(order.topic, order.partition, order.offset)
    state = book.state(origin)
    if state == "done":
        raise ConflictError("it was driven again already; see the access log")
    if state == "begun" and not order.again:
        raise ConflictError(
            "it may have been driven again: the console ended meanwhile; look at the topic, and "
            "say again=true to send it once more"
        )
    whole = Whole(record["key"] or None, record["value"])
    if is_treated or len(record["value"]) < record["value_bytes"]:
        found = fetch(origin)
        if found is None or len(found.value or b"") != record["value_bytes"]:
            has = f"the first {len(record['value'])} of {record['value_bytes']} bytes"
            if is_treated:
                has = "nothing of it that is personal, so not all of it"
            raise ConflictError(f"its topic does not hold it any more, and the archive has {has}")
        whole = found
    where = f"{origin.topic}/{origin.partition}/{origin.offset}"
    outgoing = Outgoing(
        origin.topic,
        origin.partition,
        whole.key,
        whole.value,
        [(HEADER, where.encode())],
    )
    book.note(origin, "begun", actor=actor, reason=order.reason)
    try:
        offset = send(outgoing)
    except RightError:  # of any other failure it is not known whether the record was written
        book.note(origin, "failed")
        raise
    book.note(origin, "done", actor=actor, redriven_offset=offset)
    return {**origin._asdict(), "redriven_offset": offset}


def paths(
    book: Redriven, fetch: Fetch, send: Send, *, is_treated: bool = False
) -> tuple[Path, ...]:
    """Return the paths of rejected records.

    Args:
        book: of what was driven again.
        fetch: reads a record whose value was cut or treated.
        send: writes one.
        is_treated: the archive keeps of rejected records what is not personal.
    """

    def one(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
        partition = _number(path, "partition", PARTITION_MAX)
        origin = Origin(path["topic"], partition, _number(path, "offset", OFFSET_MAX))
        found = queries.rejected_one(*origin)
        return None if found is None else told(found, book.state(origin), is_treated=is_treated)

    def again(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
        order: Redrive = asked["body"]
        found = queries.rejected_one(order.topic, order.partition, order.offset)
        if found is None:
            return None
        with book.turn:
            who = asked["actor"].name
            return redrive(order, who, found, book, fetch, send, is_treated=is_treated)

    return (
        Path(
            "/api/v1/rejected",
            "Records that were rejected, by Kafka's time of them, the newest first.",
            (
                START,
                END,
                Parameter("reason", "text", "Rejected for this reason."),
                Parameter("topic", "text", "From this topic."),
                COUNT,
                TOKEN,
            ),
            _rejected,
            table="rejected",
        ),
        Path(
            "/api/v1/rejected/{topic}/{partition}/{offset}",
            "One rejected record with its bytes, at most 64 KiB of them.",
            (),
            one,
            role="operator",
        ),
        Path(
            "/api/v1/rejected/redrive",
            "Write a rejected record to its topic again, once.",
            (),
            again,
            "POST",
            Redrive,
            role="operator",
            is_order=True,
            is_for_worker=True,
        ),
    )
