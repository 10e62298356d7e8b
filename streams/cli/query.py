"""`spanloom query`: ask a console, from a terminal or a script.

Owns the flags and how answers are shown. The questions are those of the console's interface: each
command is made of the description that the interface is made of, so that the two cannot differ.
"""

import csv
import hashlib
import inspect
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from streams.cli.asking import KEY_VARIABLE, URL, asked
from streams.cli.lines import clean
from streams.cli.moments import flag_length_us
from streams.cli.outfiles import FORCE_HELP, refuse_there
from streams.cli.tables import print_columns
from streams.console.asked import COUNT, END, LIMIT, LIMIT_MAX, START, TOKEN
from streams.console.paths.audit import AuditQuery
from streams.console.paths.every import PATHS
from streams.console.paths.path import Path as Question
from streams.console.paths.pipeline import pipeline_paths
from streams.console.times import iso
from streams.errors import ConfigError
from streams.runtime.clock import wall_us
from streams.serving.wholefiles import replace_file
from streams.units import LENGTH_FORM

URL_VARIABLE: Final = "SPANLOOM_CONSOLE_URL"
_ENDS: Final = ("start", "end")
_CSV, _JSON = ".csv", ".json"
_FORMULA: Final = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the begin of a formula, full-width signs too (OWASP, CSV
Injection)."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_EVENT: Final = (
    *("timestamp", "module", "component", "event_type", "severity", "name", "operation", "actor"),
    *("record_id", "trace_id", "duration_us", "dimensions"),
)
_COLUMNS: Final = {
    "entries": _EVENT,
    "traces": (
        *("start", "trace_id", "flow", "status", "duration_us", "span_count", "error_count"),
        *("missing_stages", "missing", "revision"),
    ),
    "incidents": ("opened_at", "incident_id", "severity", "event", "module", "owner", "title"),
    "spans": _EVENT,
    "series": (
        *("kind", "flow", "status", "from_stage", "to_stage", "module", "component"),
        *("event_type", "severity", "name", "dimensions"),
        *("windows", "expected", "observed", "ratio", "burn_rate_short", "burn_rate_long"),
        *("points", "count", "errors", "min", "max", "mean", "last"),
    ),
    "alerts": ("firing_since", "kind", "severity", "state", "module", "name", "explanation"),
    "causes": ("rank", "module", "name", "probability", "evidence"),
    "module_health": (
        *("name", "status", "upstream_impact", "downstream_risk", "incident_ids", "last_seen"),
    ),
    "predictive_indicators": (
        *("indicator_type", "module", "component", "flow", "status", "current_value", "threshold"),
        *("unit", "trend", "time_to_threshold"),
    ),
}
"""Of each list that is known: what a terminal has room for. The rest is in --json and in files."""
_OF_TIME: Final = frozenset({"points", "windows"})
"""Lists within a row of which the newest is shown beside it."""
_SINGULAR: Final = {
    "record_ids": "--record-id",
    "trace_ids": "--trace-id",
    "modules": "--module",
    "event_types": "--event-type",
}
_EXAMPLES: Final = {
    "traces": "--since 1h --status BROKEN",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "record": "rec-00000042",
    "lineage": "rec-00000042 --direction backward",
    "fidelity": "--start 2026-11-26T08:00Z --end 2026-11-26T09:00Z --kind edge",
    "effects": "0f3a9c1e5b7d2468ace013579bdf0246",
    "metrics": "--name 'pipeline.beta.*' --since 6h",
    "volume": "--by flow --since 1d",
    "incidents": "--state open",
    "incident": "0f3a9c1e5b7d2468ace013579bdf0246 --json",
    "health": "--json",
    "audit": "--start 2026-11-26T00:00Z --end 2026-11-27T00:00Z --actor svc-beta --out audit.csv",
}


app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Ask a console: traces, records, lineage, fidelity, incidents, health, audit entries.

    Example: spanloom query incidents --state open
    """


def _command(one: Question) -> Callable[..., None]:
    """Return the function that asks a path, with the flags that the path takes."""

    def run(**given: Any) -> None:
        out, force = given.pop("out"), given.pop("force")
        if out is not None:
            _writable(out, force=force)
        everything = bool(given.pop("all", False)) or out is not None
        _full(one, given)
        given |= _range(one, given)
        as_json = given.pop("as_json")
        answers = asked(one, given.pop("console").rstrip("/"), given, everything=everything)
        if out is not None:
            typer.echo(_write(out, answers))
        elif as_json:
            typer.echo(json.dumps(_joined(answers), ensure_ascii=False))
        else:
            _show(answers)

    parameters = [*_own_flags(one), *_common_flags(one)]
    # typer reads the flags off the function.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {flag.name: flag.annotation for flag in parameters}
    example = f"Example: spanloom query {one.command} {_EXAMPLES.get(one.command, '')}".rstrip()
    run.__doc__ = f"{one.summary}\n\n{example}"
    return run


def _flag(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _own_flags(one: Question) -> Iterator[inspect.Parameter]:
    """Yield what a question takes."""
    for part in one.path.split("/"):
        if part.startswith("{"):
            yield _flag(part[1:-1], str, typer.Argument(help="The id."))
    for parameter in one.parameters:
        if parameter not in (TOKEN, COUNT):
            is_needed = parameter.required and parameter.name not in _ENDS
            absent = ... if is_needed else None
            words = f" One of {', '.join(parameter.words)}." if parameter.words else ""
            yield _flag(
                parameter.name, str | None, typer.Option(absent, help=parameter.help + words)
            )
    if _has_range(one):
        help_ = f"From {LENGTH_FORM} ago until now, instead of --start and --end."
        yield _flag("since", str | None, typer.Option(None, help=help_))
    if one.body is not None:
        yield _flag("start", str | None, typer.Option(None, help=START.help))
        yield _flag("end", str | None, typer.Option(None, help=END.help))
        for name in AuditQuery.model_fields:
            if name in _SINGULAR:
                option = typer.Option(None, _SINGULAR[name], help="One of these; repeatable.")
                yield _flag(name, list[str] | None, option)
            elif name == "severity_minimum":
                yield _flag(name, str | None, typer.Option(None, help="This severity or graver."))
            elif name not in ("time_range", "limit", "continuation_token"):
                yield _flag(name, str | None, typer.Option(None, help="Exactly this."))


def _full(one: Question, given: Mapping[str, Any]) -> None:
    """Refuse an empty value: it comes of a variable that is not set, and would ask for all.

    Raises:
        ConfigError: there is one; names its flag.
    """
    for name, value in given.items():
        if value == "" or (isinstance(value, list) and "" in value):
            if f"{{{name}}}" in one.path:
                raise ConfigError(f"{name}: it is empty")
            flag = _SINGULAR.get(name, f"--{name.replace('_', '-')}")
            raise ConfigError(f"{flag}: it is empty; say what it is, or leave it out")


def _has_range(one: Question) -> bool:
    return one.body is not None or set(_ENDS) <= {parameter.name for parameter in one.parameters}


def _range(one: Question, given: dict[str, Any]) -> dict[str, str | None]:
    """Return `start` and `end` where --since says them; takes it away.

    Raises:
        ConfigError: the range is not said, said twice, or --since is no length.
    """
    since = given.pop("since", None)
    ends = [name for name in _ENDS if given.get(name) is not None]
    if since is None:
        is_needed = one.body is not None or START in one.parameters
        if is_needed and len(ends) < len(_ENDS):
            raise ConfigError("say the time: --since 1h, or --start and --end")
        return {}
    if ends:
        raise ConfigError(f"--since {since}: not with --{ends[0]}")
    now_us = wall_us()
    return {"start": iso(now_us - flag_length_us(since, "--since")), "end": iso(now_us)}


def _common_flags(one: Question) -> Iterator[inspect.Parameter]:
    """Yield where a question goes, and what becomes of the answer."""
    help_ = f"Address of the console; a key for it is taken from {KEY_VARIABLE}."
    yield _flag("console", str, typer.Option(URL, envvar=URL_VARIABLE, help=help_))
    yield _flag("as_json", bool, typer.Option(False, "--json", help="Write one JSON object."))
    if COUNT in one.parameters or one.body is not None:
        help_ = f"Rows of a page; {LIMIT} unless given, {LIMIT_MAX} with --all and --out."
        yield _flag("limit", int | None, typer.Option(None, min=1, max=LIMIT_MAX, help=help_))
        yield _flag("all", bool, typer.Option(False, "--all", help="All pages, not one."))
    help_ = "Write all pages to this file, .csv or .json, and FILE.sha256 beside it."
    yield _flag("out", Path | None, typer.Option(None, help=help_))
    yield _flag("force", bool, typer.Option(False, "--force", help=FORCE_HELP))


for _one in (*PATHS, *pipeline_paths()):
    if _one.command:
        app.command(_one.command)(_command(_one))


# --- showing --------------------------------------------------------------------------------------


def _rows(answer: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Return the rows that an answer is about, and their name."""
    for name in (*_COLUMNS, *answer):
        if _is_table(answer.get(name)):
            return name, answer[name]
    return next((name for name in _COLUMNS if answer.get(name) == []), ""), []


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _listed(value: Any) -> Any:
    """Return a map of objects as a list of them, each with its key as `name`; all else as is."""
    if not (isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())):
        return value
    return [{"name": key} | one for key, one in value.items()]


def _joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the pages of an answer as one."""
    if len(answers) == 1:
        return answers[0]
    name, _ = _rows(answers[0])
    rows = [row for answer in answers for row in answer[name]]
    return answers[0] | {name: rows, "continuation_token": answers[-1]["continuation_token"]}


def _text(value: Any) -> str:
    """Return a value as a cell has it: what is nested as JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    """Return a value as people look at it: times to the millisecond, of nested rows how many."""
    if _is_table(value):
        return f"{len(value)} of them"
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items() if v not in ("", None))
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _text(value)
    return f"{text[:23]}Z" if _TIME.fullmatch(text) else text


def _show(answers: Sequence[dict[str, Any]]) -> None:
    """Print the plain fields of an answer, then each list in it as a table."""
    answer = _joined(answers)
    answer = {name: _listed(value) for name, value in answer.items()}
    tables = {name: value for name, value in answer.items() if _is_table(value)}
    for key, value in answer.items():
        if (
            key not in tables
            and value not in ("", None, False, [], {})
            and key != "continuation_token"
        ):
            typer.echo(f"{key}: {clean(_short(value))}")
    for name, rows in tables.items():
        title = f"{name}, figures of the newest" if _OF_TIME & rows[0].keys() else name
        _print_table(name, [_newest(row) for row in rows], title)
    if not tables:
        typer.echo("nothing found")
    elif answer.get("continuation_token"):
        typer.echo("there are more: --all shows them, --out FILE writes them")


def _newest(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a series with its newest window or point beside its name."""
    of_time = row.get("windows") or row.get("points") or [{}]
    return {**of_time[-1], **row} if isinstance(of_time[-1], dict) else dict(row)


def _print_table(name: str, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    wanted = _COLUMNS.get(name) or tuple(dict.fromkeys(c for row in rows for c in row))
    cells = {column: [clean(_short(row.get(column))) for row in rows] for column in wanted}
    shown = {column: texts for column, texts in cells.items() if any(texts)}
    print_columns(title, shown)


def _writable(path: Path, *, force: bool) -> None:
    """Refuse a file that could not be written, before anything is asked for it.

    Raises:
        ConfigError: the name says neither .csv nor .json, it cannot be written there, or it is
            there already and nobody says that it may be replaced.
    """
    if path.suffix not in (_CSV, _JSON):
        raise ConfigError(f"--out {path}: name a file that ends in {_CSV} or {_JSON}")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")
    for one in (path, _digest_of(path)):
        refuse_there(one, force=force)
        if not os.access(one if one.exists() else one.parent, os.W_OK):
            raise ConfigError(f"--out {path}: {one} cannot be written")


def _digest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _write(path: Path, answers: Sequence[dict[str, Any]]) -> str:
    """Write an answer and its digest; return what was written.

    Raises:
        ConfigError: the file cannot be written.
    """
    answer = _joined(answers)
    name, rows = _rows(answer)
    if path.suffix == _JSON:
        data = (json.dumps(answer, ensure_ascii=False, indent=1) + "\n").encode()
    else:
        text = io.StringIO()
        columns = list(dict.fromkeys(column for row in rows for column in row))
        columns = columns or list(_COLUMNS.get(name, answer))
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
        data = text.getvalue().encode()
    digest = hashlib.sha256(data).hexdigest()
    about = f"{len(rows)} {name or 'rows'}{_moment(answer, len(rows))}"
    about += ", which are not all: narrow the question" if answer.get("is_cut") else ""
    try:
        replace_file(path, data)
        # Tools that check digests pass over lines that begin so.
        replace_file(_digest_of(path), f"# {about}\n{digest}  {path.name}\n".encode())
    except OSError as error:
        raise ConfigError(f"--out {path}: {error}") from error
    return f"{about} in {path}, sha256 {digest}"


def _moment(answer: Mapping[str, Any], rows: int) -> str:
    """Return of when an answer of many pages is, and what of it is gone since; "" for no moment."""
    if not (as_of := answer.get("as_of")):
        return ""
    gone = answer.get("total_count", rows) - rows
    lacks = f", without {gone} that expired or were erased meanwhile" if gone > 0 else ""
    return f" as of {as_of}{lacks}"


def _cell(value: Any) -> str:
    """Return a value for a spreadsheet: never one that it would take for a formula."""
    text = _text(value)
    is_formula = text.startswith(_FORMULA) and not (text[0] in "+-" and _is_number(text))
    return f"'{text}" if is_formula else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
