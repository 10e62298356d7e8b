"""Reads a list of lost spans in whatever of the usual layouts it was written.

Accepted: a JSON list of objects; a JSON object of such lists, by pattern; either of them inside an
object under `lost`, `spans`, `missing`, `patterns` or `truth`; JSON lines; CSV with a header. An
object (or row) has a trace id and, as far as known: span id, pattern, the lost operation and its
service, the parent's operation and service, an edge "near -> far" (or [near, far]) between
services or operations, the parent's span id, and whether a child or the parent is still there.
Names of fields are compared without case, underscores and dashes.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from streams.errors import ConfigError

_WRAPPERS = ("lost", "lostspans", "spans", "missing", "patterns", "truth", "dropped", "drops")
_ALIASES = {
    "trace_id": ("traceid", "trace"),
    "span_id": ("spanid", "span", "id"),
    "pattern": ("pattern", "kind", "group", "case"),
    "far_name": ("operation", "operationname", "name", "spanname", "op"),
    "far_module": ("service", "module", "servicename"),
    "pod": ("podname", "pod"),
    "near_name": ("parentoperation", "parentoperationname", "parentname", "parentop"),
    "near_module": ("parentservice", "parentmodule", "fromservice"),
    "parent_span_id": ("parentspanid", "parentid", "parent"),
    "edge": ("edge", "losingedge", "hop"),
    "has_child": ("haschild", "childrenpresent", "childpresent", "haschildren", "childrenkept"),
    "is_topmost": ("istopmost", "topmost", "parentpresent", "parentkept"),
}
_FIELD = {alias: field for field, aliases in _ALIASES.items() for alias in aliases}


def read_truth(path: Path) -> list[dict[str, Any]]:
    """Return one entry for each lost span, under the field names of `_ALIASES`.

    Raises:
        ConfigError: The file cannot be read or an entry has no trace id.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    entries = []
    for number, (pattern, raw) in enumerate(_raw_entries(path, text), 1):
        entry = {
            _FIELD[key]: value for name, value in raw.items() if (key := _plain(name)) in _FIELD
        }
        if pattern and not entry.get("pattern"):
            entry["pattern"] = pattern
        if not entry.get("trace_id"):
            raise ConfigError(f"{path}: entry {number} has no trace_id")
        entries.append(_refined(entry))
    return entries


def truth_frame(entries: list[dict[str, Any]], seen: pl.DataFrame) -> pl.DataFrame:
    """Make the table that `matching.score` takes; `seen` are the spans that were not lost.

    What the truth does not say is worked out where ids allow it: the parent's operation, whether
    the parent and whether a child is there. A name column that some entry lacks is left out.
    """
    names = {
        (trace, span): (module, name)
        for trace, span, module, name in seen.select(
            "trace_id", "span_id", "module", "name"
        ).iter_rows()
    }
    parents = set(seen.select("trace_id", "parent_span_id").iter_rows())
    lost_ids = {(e["trace_id"], e.get("span_id")): e for e in entries if e.get("span_id")}
    rows = []
    for given in entries:
        entry = dict(given)
        above = (entry["trace_id"], entry.get("parent_span_id"))
        if entry.get("near_name") is None and entry.get("parent_span_id") is not None:
            lost_above = lost_ids.get(above, {})
            known = (lost_above.get("far_module"), lost_above.get("far_name"))
            root = ("", "") if entry["parent_span_id"] == "" else (None, None)
            module, name = names.get(above, known if above in lost_ids else root)
            entry.update(near_module=module, near_name=name)
        own = (entry["trace_id"], entry.get("span_id"))
        has_child = entry.get("has_child")
        topmost = entry.get("is_topmost")
        if topmost is None:
            topmost = entry.get("parent_span_id") is None or above not in lost_ids
        rows.append(
            {
                "trace_id": entry["trace_id"],
                "span_id": int(entry["span_id"], 16) if entry.get("span_id") else None,
                "pattern": str(entry.get("pattern") or "all"),
                **{key: entry.get(key) for key in _NAMES},
                "is_topmost": _truth(topmost),
                "has_child": own in parents if has_child is None else _truth(has_child),
            }
        )
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    return frame.drop([name for name in _NAMES if frame[name].null_count()])


_NAMES = ("far_module", "far_name", "near_module", "near_name")
_SCHEMA = {
    "trace_id": pl.String,
    "span_id": pl.UInt64,
    "pattern": pl.String,
    **dict.fromkeys(_NAMES, pl.String),
    "is_topmost": pl.Boolean,
    "has_child": pl.Boolean,
}


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _truth(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes")


def _raw_entries(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (pattern, object) of every layout."""
    if path.suffix == ".csv":
        yield from (("", dict(row)) for row in csv.DictReader(io.StringIO(text)))
        return
    try:
        yield from _walk("", json.loads(text))
    except ValueError:
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{path}:{number}: neither JSON nor JSON lines") from error
            yield from _walk("", value)


def _walk(pattern: str, value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects below a JSON value; keys on the way that are not wrappers are patterns."""
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(part, str) for part in value):
            yield pattern, {"trace_id": value[0], "span_id": value[1]}
            return
        for part in value:
            yield from _walk(pattern, part)
    elif isinstance(value, dict):
        keys = {_plain(key) for key in value}
        if keys & {"traceid"} or ("trace" in keys and "span" in keys):
            yield pattern, value
            return
        own = str(value.get("pattern") or value.get("name") or "") or pattern
        for key, part in value.items():
            if isinstance(part, list | dict):
                yield from _walk(own if _plain(key) in _WRAPPERS else key, part)


def _refined(entry: dict[str, Any]) -> dict[str, Any]:
    """Bring ids, services and edges to one form."""
    for key in ("trace_id", "span_id", "parent_span_id"):
        if entry.get(key) is not None:
            entry[key] = "" if entry[key] == "root" else str(entry[key]).lower()
    if not entry.get("span_id"):
        entry.pop("span_id", None)
    if entry.get("pod") and not entry.get("far_module"):
        entry["far_module"] = str(entry["pod"]).rsplit("-", 2)[0]
    if isinstance(entry.get("far_name"), list | tuple):
        entry["far_module"], entry["far_name"] = entry["far_name"][0], entry["far_name"][-1]
    if isinstance(entry.get("near_name"), list | tuple):
        entry["near_module"], entry["near_name"] = entry["near_name"][0], entry["near_name"][-1]
    _split_edge(entry)
    return entry


def _split_edge(entry: dict[str, Any]) -> None:
    """Take what an edge says of the parent; its ends are services, or `service:operation`."""
    edge = entry.pop("edge", None)
    if isinstance(edge, str):
        edge = next((edge.split(sign) for sign in ("->", "→", "=>", ">") if sign in edge), None)
    if isinstance(edge, dict):
        edge = [edge.get("from") or edge.get("near"), edge.get("to") or edge.get("far")]
    if not isinstance(edge, list | tuple) or len(edge) != 2:
        return
    for side, value in zip(("near", "far"), edge, strict=True):
        module, _, name = str(value or "").strip().partition(":")
        entry[f"{side}_module"] = entry.get(f"{side}_module") or module
        if name:
            entry[f"{side}_name"] = entry.get(f"{side}_name") or name
