"""Answers as Arrow: the rows of a list as a table, for who goes on with them in a program.

Owns the form. Times are timestamps in UTC, dimensions are maps; what an answer says besides its
rows, such as where the next page begins, is metadata of the table's schema.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import pyarrow as pa

MEDIA: Final = "application/vnd.apache.arrow.stream"
_JSON: Final = ("application/json", "application/*", "*/*")
"""What a request may call JSON, what says most of it first."""
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_TIME: Final = pa.timestamp("us", "UTC")
_MAP: Final = pa.map_(pa.string(), pa.string())
_DIMENSIONS: Final = "dimensions"


def is_wanted(accept: str) -> bool:
    """Say whether a request's Accept names Arrow, and likes it no less than JSON (RFC 9110).

    JSON is what everything else gets: who accepts all types alike did not ask for Arrow.
    """
    liked: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (one.strip() for one in part.split(";"))
        weights = [one.removeprefix("q=") for one in parameters if one.startswith("q=")]
        weight = weights[0] if weights else "1"
        # A weight that is none is not guessed at: its type is not asked for.
        weight_of = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
        liked[media] = max(liked.get(media, 0.0), weight_of)
    arrow = liked.get(MEDIA, 0.0)
    return arrow > 0 and arrow >= next((liked[one] for one in _JSON if one in liked), 0.0)


def stream(found: Mapping[str, Any], table: str, times: Collection[str]) -> bytes:
    """Return an answer as an Arrow stream.

    Args:
        found: the answer.
        table: the name of its list of rows.
        times: names of columns that hold times in us; 0 stands for never.
    """
    rows = [dict(row) for row in found[table]]
    for row in rows:
        if isinstance(row.get(_DIMENSIONS), dict):
            row[_DIMENSIONS] = list(row[_DIMENSIONS].items())
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column(name, [row.get(name) for row in rows], times) for name in names}
    made = pa.table(columns)
    said = {name: str(value) for name, value in found.items() if isinstance(value, str | int)}
    made = made.replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    return bytes(sink.getvalue())


def _column(name: str, values: list[Any], times: Collection[str]) -> pa.Array:
    if name == _DIMENSIONS:
        return pa.array(values, _MAP)
    if name in times:
        return pa.array([value or None for value in values], _TIME)
    found = pa.array(values)
    return found.cast(pa.string()) if pa.types.is_null(found.type) else found
