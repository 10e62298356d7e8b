"""`spanloom tail`: what goes through a topic, decoded, as it comes.

Owns where the reading begins and ends. Invariant: only committed records are shown, and a line goes
out before the next record is asked for.
"""

import os
import sys
from collections.abc import Callable, Iterator

import typer
from rich.console import Console

from streams.cli.connection import connect
from streams.cli.lines import as_json, as_line
from streams.runtime.reading import Message, Reading
from streams.settings import load_settings


def run(
    topic: str = typer.Argument(help="Any of our topics, by its whole name."),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    from_beginning: bool = typer.Option(
        False, "--from-beginning", help="Begin with the oldest record, not with what comes next."
    ),
    follow: bool = typer.Option(
        True, help="Wait for more; without, show what the topic holds and end."
    ),
    limit: int = typer.Option(0, min=0, help="End after N records; 0 for no end."),
    json_lines: bool = typer.Option(False, "--json", help="Write one JSON object a line."),
) -> None:
    """Show the records of a topic, decoded, one line each; committed ones only.

    Ends with Ctrl-C (130), after --limit records, or with --no-follow at the topic's end.

    Example: spanloom tail incidents.events.v1 --from-beginning --no-follow
    """
    settings = load_settings(broker=broker)
    show = _write_json if json_lines else _line_writer()
    try:
        with Reading(connect(settings)) as reading:
            _copy(_records(reading, topic, from_beginning or not follow, follow), show, limit)
    except BrokenPipeError:
        # Whoever read us has gone (`| head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _records(
    reading: Reading, topic: str, from_beginning: bool, follow: bool
) -> Iterator[Message | None]:
    spans = reading.spans([topic])
    starts = {at: span.low if from_beginning else span.high for at, span in spans.items()}
    return reading.records(starts, follow=follow)


def _copy(records: Iterator[Message | None], show: Callable[[Message], None], limit: int) -> None:
    shown = 0
    for message in records:
        if message is None:
            sys.stdout.flush()
            continue
        show(message)
        shown += 1
        if limit and shown >= limit:
            break
    sys.stdout.flush()


def _write_json(message: Message) -> None:
    sys.stdout.write(as_json(message) + "\n")


def _line_writer() -> Callable[[Message], None]:
    console = Console(highlight=False, soft_wrap=True)

    def show(message: Message) -> None:
        if console.is_terminal:
            console.print(as_line(message))
        else:
            sys.stdout.write(as_line(message).plain + "\n")

    return show
