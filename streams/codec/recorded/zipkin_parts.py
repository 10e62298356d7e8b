"""Rows of Zipkin that are parts of one span become one row.

Zipkin lets a span be sent in parts: its start first and its end later, tags after the fact, by
whoever had the data. Pure. Invariant: rows are merged only where one of them says less than a span
must, and none contradicts the other; two whole rows stay two.

Source: Zipkin, `zipkin2/internal/Trace.java` (which rows are one span: the same id, the same side,
endpoints that do not contradict; the caller's first) and `zipkin2/Span.java`, `Builder.merge` (what
the first row says holds; tags of a later one replace).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]
ENDPOINT: Final = ("serviceName", "ipv4", "ipv6", "port")
SIDES_MAX: Final = 100
"""Spans of one id that a row is compared with: honest ones have two, and each row is compared."""


def endpoint(row: Row, name: str) -> Row:
    """Return an endpoint, an empty one where there is none."""
    found: Row = row.get(name) or {}
    return found


def _is_whole(row: Row) -> bool:
    """Whether a row says all of its span: whose, when and how long."""
    return bool(
        row.get("timestamp")
        and row.get("duration")
        and endpoint(row, "localEndpoint").get("serviceName")
    )


def merged_rows(rows: Sequence[Row]) -> list[list[int]]:
    """Return which rows of one id are one span; of each span the rows whose words hold come first.

    Args:
        rows: of one trace and one span id, each with fields of the right types.
    """
    order = sorted(range(len(rows)), key=lambda at: _rank(rows[at]))
    found: list[list[int]] = []
    said: list[Row] = []
    for at in order:
        for place, known in enumerate(said[:SIDES_MAX]):
            if _is_one(known, rows[at]):
                found[place].append(at)
                said[place] = merged(known, rows[at])
                break
        else:
            found.append([at])
            said.append(rows[at])
    return found


def merged(first: Row, later: Row) -> Row:
    """Return what two rows say together."""
    both = {**later, **{name: value for name, value in first.items() if value not in (None, "", 0)}}
    for name in ("localEndpoint", "remoteEndpoint"):
        both[name] = {**endpoint(later, name), **endpoint(first, name)}
    both["tags"] = {**(first.get("tags") or {}), **(later.get("tags") or {})}
    notes = list(first.get("annotations") or [])
    both["annotations"] = notes + [
        one for one in later.get("annotations") or [] if not any(is_equal(one, n) for n in notes)
    ]
    both["shared"] = bool(first.get("shared") or later.get("shared"))
    return both


def _rank(row: Row) -> tuple[bool, bool, bool]:
    """Rows with a start first, of these the caller's."""
    return not row.get("timestamp"), bool(row.get("shared")), row.get("kind") != "CLIENT"


def is_equal(one: object, other: object) -> bool:
    """Whether two values of JSON are the same."""
    try:
        return one == other
    except RecursionError:  # nested as deeply as JSON may be: what differs elsewhere is not seen
        return False


def _is_one(known: Row, row: Row) -> bool:
    if is_equal(known, row) or (_is_whole(known) and _is_whole(row)):
        return False
    for name in ("kind", "timestamp", "duration", "parentId"):
        if known.get(name) and row.get(name) and known[name] != row[name]:
            return False
    if bool(known.get("shared")) != bool(row.get("shared")):
        # A late part of the far side may leave the flag out; the caller's never has it.
        is_late = not row.get("kind") and row.get("shared") is None
        if row.get("shared") or not is_late:
            return False
    mine, other = endpoint(known, "localEndpoint"), endpoint(row, "localEndpoint")
    return all(mine[name] == other[name] for name in ENDPOINT if mine.get(name) and other.get(name))
