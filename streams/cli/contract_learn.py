"""`spanloom contract learn`: whole recorded traces to a contract that says what each calls.

Owns the way from a recording to a file; what counts as a rule is the learner's to say. Invariant:
a file is written only after it was read back as a valid contract, and never over one that a
person wrote unless that is asked for.
"""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
import yaml

from streams.codec.eventlog import read_events
from streams.codec.nezha import read_nezha
from streams.codec.spanframe import span_batch, span_frame
from streams.contract.learner import LearnerSettings, learn_rules
from streams.contract.loader import load_contract
from streams.contract.operations import OperationRules
from streams.core.columns import Operations
from streams.errors import ConfigError, reason_of
from streams.runtime.topics import OTHER
from streams.units import counted

_DEFAULTS = LearnerSettings()


_LEARNED = "# Learned from"


class Kind(StrEnum):
    """The layouts of recordings that can be learned from."""

    NEZHA = "nezha"
    EVENTS = "events"


def learn(
    kind: Annotated[Kind, typer.Argument(help="Layout: a Nezha day, or our own JSON lines.")],
    path: Annotated[Path, typer.Argument(help="Folder or archive (nezha), .jsonl[.gz] (events).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The contract file to write.")],
    name: Annotated[str, typer.Option(help="The contract's name.")] = "learned",
    version: Annotated[str, typer.Option(help="The contract's version.")] = "1",
    ratio_min: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of parents that must agree on a rule.")
    ] = _DEFAULTS.ratio_min,
    support_min: Annotated[
        int, typer.Option(min=1, help="How many parents a rule needs.")
    ] = _DEFAULTS.support_min,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Learn from whole recorded traces what each operation calls; write a contract.

    The traces must be whole: a span that was lost in them is learned as one that need not be.
    Modules are written without an owner, and shown as unowned until somebody adds one.

    Example: spanloom contract learn nezha recordings/2023-01-29 --out shop.yaml
    """
    try:
        if not force and _is_handwritten(out):
            raise ConfigError(
                f"{out}: is there already and was not learned; choose another --out, or say --force"
            )
        frame = recorded_spans(kind, path)
        settings = LearnerSettings(
            ratio_min=ratio_min, support_min=support_min, chained_support_min=support_min
        )
        operations = Operations(limit=1_000_000)
        batch, _ = span_batch(frame, operations)
        rules = learn_rules(batch, operations, settings)
        modules = sorted(frame["module"].unique().to_list())
        # In a recording a module is a service: their spans share the topic for unnamed modules.
        topic = OTHER if kind is Kind.NEZHA else None
        write_contract(out, name, version, modules, rules, topic)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    required = sum(len(parent.children) for parent in rules.parents)
    groups = sum(len(parent.one_of) for parent in rules.parents)
    typer.echo(
        f"{out}: contract {name} {version}: {counted(len(modules), 'module')} (unowned), "
        f"{counted(required, 'required child', 'required children')} and "
        f"{counted(groups, 'group')} below {counted(len(rules.parents), 'operation')}, "
        f"from {counted(rules.traces, 'trace')}"
    )


def _is_handwritten(out: Path) -> bool:
    """Whether a file with content is there that this command did not write."""
    if not out.is_file() or not out.stat().st_size:
        return False
    with out.open("rb") as file:
        return not file.readline().startswith(_LEARNED.encode())


def recorded_spans(kind: Kind, path: Path) -> pl.DataFrame:
    """Return the spans of a recording as one table.

    Raises:
        ConfigError: The recording cannot be read, or there is no span in it.
    """
    frame = pl.concat(read_nezha(path)) if kind is Kind.NEZHA else span_frame(read_events(path))
    if not len(frame):
        raise ConfigError(f"{path}: no TRACE event with a trace and span id in it")
    return frame


def write_contract(
    out: Path,
    name: str,
    version: str,
    modules: list[str],
    rules: OperationRules,
    topic: str | None = None,
) -> None:
    """Write a contract file that holds the rules; whole or not at all.

    Args:
        out: The file.
        name: The contract's name.
        version: The contract's version.
        modules: The modules seen.
        rules: What was learned.
        topic: The one topic of all modules; None for a topic each.

    Raises:
        ConfigError: What was learned is no valid contract, or the file cannot be written.
    """
    at = {"topic": topic} if topic else {}
    text = yaml.safe_dump(
        {
            "version": version,
            "name": name,
            "modules": {module: {"owner": ""} | at for module in modules},
            "operations": rules.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        },
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,  # names stay on one line
        width=100,
    )
    try:
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            draft = Path(folder) / out.name
            draft.write_text(f"{_LEARNED} {rules.traces} recorded traces.\n{text}")
            load_contract(draft)
            draft.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({reason_of(error)})") from error
