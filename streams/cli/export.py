"""`spanloom export`: what was recorded in the topics, as files that can be sent or opened again.

Owns which records are exported. Invariants: a file appears whole or not at all, and takes the place
of another one only where that is asked for; every record that was read is in it, was outside the
range, or is counted under a reason.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streams.cli.connection import OtlpTopics, connect, tell_not_read, tell_untreated
from streams.cli.moments import moment_us
from streams.cli.outfiles import FORCE_HELP, refuse_there
from streams.codec import records
from streams.codec.eventlog import can_be_kept, write_events
from streams.codec.recorded.account import bound_events
from streams.codec.recorded.to_jaeger import jaeger_trace
from streams.codec.recorded.to_otlp import otlp_request
from streams.errors import ConfigError, RecordError
from streams.runtime import topics
from streams.runtime.build import Pipeline, load_pipeline
from streams.runtime.reading import Message, Place, Reading
from streams.runtime.sent_events import SentEvents
from streams.settings import load_settings
from streams.units import counted

app = typer.Typer(no_args_is_help=True)
_PLACE: Final = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d+)@(?P<low>\d+)-(?P<high>\d*)"
)
_TELEMETRY: Final = re.compile(r"telemetry\.[^.]+\.v\d+")
_FOR_EVER_US: Final = 1 << 62

Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write; .gz compresses it.")]
Force = Annotated[bool, typer.Option("--force", help=FORCE_HELP)]
Broker = Annotated[str | None, typer.Option(help="Bootstrap address, HOST:PORT.")]
Since = Annotated[str, typer.Option(help="First event time: ISO 8601 with an offset.")]
Until = Annotated[str, typer.Option(help="Event time to end before: ISO 8601 with an offset.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of text.")]
Prefix = Annotated[str | None, typer.Option(help="Put before the names of derived topics.")]


class Layout(StrEnum):
    """The layouts of exported traces."""

    JAEGER = "jaeger"
    OTLP = "otlp"


@app.callback()
def root() -> None:
    """Write what was recorded to files."""


@app.command()
def events(
    out: Out,
    broker: Broker = None,
    contract: Annotated[str | None, typer.Option(help="Path of the contract, or `seed`.")] = None,
    otlp_topics: OtlpTopics = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="Only this topic; may be given several times.")
    ] = None,
    since: Since = "",
    until: Until = "",
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Only offsets TOPIC/PARTITION@FIRST-[END); several are allowed."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write telemetry events as JSON lines, which `spanloom replay events` sends again.

    Of the topics that the contract names, `telemetry.other.v1`, and those of --otlp-topics, whose
    spans, log records and data points become events; which others there are is said.
    Events of a partition keep their order. Ends with 1 when records could not be read.

    Example: spanloom export events -o day.jsonl.gz --contract seed --since 2026-01-31T00:00Z
    """
    settings = load_settings(broker=broker, contract=contract, otlp_topics=otlp_topics)
    refuse_there(out, force=force)
    span = _range(since, until)
    counts: Counter[str] = Counter()
    pipeline = load_pipeline(settings)
    tell_untreated(pipeline, "written as the topics have them")
    with Reading(connect(settings)) as reading:
        names = topic or reading.known(pipeline.sent)
        if not topic and not at:
            _tell_left_out(reading, names, pipeline)
        starts, ends = _places(reading, names, at or [])
        told = _events(_within(reading, starts, ends), pipeline, span, counts)
        written = _whole(out, lambda path: write_events(path, told), force=force)
    _say(out, written, "events", counts, as_json)


@app.command()
def traces(
    out: Out,
    broker: Broker = None,
    since: Since = "",
    until: Until = "",
    layout: Annotated[
        Layout, typer.Option("--format", help="Whose JSON: Jaeger's page opens both.")
    ] = Layout.JAEGER,
    derived_prefix: Prefix = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write assembled traces, each in its newest revision, as Jaeger's or OTLP's JSON.

    Log records and the like of a trace without a span are left out, and counted. Ends with 1 when
    records could not be read.

    Example: spanloom export traces -o incident.json --since 2026-01-31T11:50Z
    """
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    refuse_there(out, force=force)
    span = _range(since, until)
    counts: Counter[str] = Counter()
    with Reading(connect(settings)) as reading:
        starts, ends = _places(reading, [settings.derived_prefix + topics.TRACES], [])
        found = _traces(reading, starts, ends, span, counts)
    newest = [trace for trace in found if _has_spans(trace)]
    left_out = sum(len(trace["spans"]) for trace in found if not _has_spans(trace))
    made = (
        otlp_request(newest)
        if layout is Layout.OTLP
        else {"data": [jaeger_trace(trace) for trace in newest]}
    )
    content = json.dumps(made).encode()
    if out.name.endswith(".gz"):
        content = gzip.compress(content)
    _whole(out, lambda path: path.write_bytes(content), force=force)
    if left_out:
        typer.echo(
            f"spanloom: not exported: {counted(left_out, 'event')} of traces without a span, which "
            "neither layout has a place for. `spanloom export events` writes them.",
            err=True,
        )
    _say(out, len(newest), "traces", counts, as_json, left_out=left_out)


def _has_spans(trace: Mapping[str, Any]) -> bool:
    return any(event["event_type"] == "TRACE" for event in trace["spans"])


def _tell_left_out(reading: Reading, names: Sequence[str], pipeline: Pipeline) -> None:
    """Say which telemetry topics are not read: without a contract that is each module's own."""
    known = {*names, *map(pipeline.derived, topics.DERIVED)}
    there = sorted(reading.topics())
    left_out = [one for one in there if _TELEMETRY.fullmatch(one) and one not in known]
    if left_out:
        typer.echo(
            f"spanloom: not exported: {', '.join(left_out)}. Name them by --contract, or each by "
            "--topic.",
            err=True,
        )
    tell_not_read(reading, pipeline)


def _range(since: str, until: str) -> tuple[int, int]:
    first_us, end_us = _moment_us(since, "--since", 0), _moment_us(until, "--until", _FOR_EVER_US)
    if first_us >= end_us:
        raise ConfigError(f"--since {since} is not before --until {until}: nothing lies there")
    return first_us, end_us


def _moment_us(text: str, flag: str, absent: int) -> int:
    return moment_us(text, flag, "it like 2026-01-31T12:00Z") if text else absent


def _places(
    reading: Reading, names: list[str], at: list[str]
) -> tuple[dict[Place, int], dict[Place, int]]:
    """Return where to begin and where to end, by partition."""
    if not at:
        spans = reading.spans(names)
        return {p: s.low for p, s in spans.items()}, {p: s.high for p, s in spans.items()}
    starts: dict[Place, int] = {}
    ends: dict[Place, int] = {}
    for text in at:
        found = _PLACE.fullmatch(text)
        if not found:
            raise ConfigError(f"--at {text}: write it like telemetry.alpha.v1/0@1000-2000")
        if found["high"] and int(found["high"]) <= int(found["low"]):
            raise ConfigError(f"--at {text}: it ends before it begins; the end is not read itself")
        place = found["topic"], int(found["partition"])
        spans = reading.spans([place[0]])
        if place not in spans or place in starts:
            raise ConfigError(
                f"--at {text}: {place[0]} has no such partition, or it is named twice"
            )
        starts[place] = max(int(found["low"]), spans[place].low)
        ends[place] = min(int(found["high"] or spans[place].high), spans[place].high)
    return starts, ends


def _within(
    reading: Reading, starts: dict[Place, int], ends: dict[Place, int]
) -> Iterator[Message]:
    """Yield the records between the offsets."""
    for message in reading.records({p: at for p, at in starts.items() if at < ends[p]}):
        if message is not None and message.offset < ends[message.topic, message.partition]:
            yield message


def _events(
    messages: Iterable[Message],
    pipeline: Pipeline,
    span: tuple[int, int],
    counts: Counter[str],
) -> Iterator[dict[str, Any]]:
    sent, privacy = SentEvents(pipeline), pipeline.privacy
    for message in messages:
        try:
            found = sent.of(message)
        except RecordError as error:
            counts[error.reason] += 1
            continue
        for event in found:
            if not can_be_kept(event):
                counts["invalid_number"] += 1
            elif span[0] <= event["timestamp"] < span[1]:
                yield event if privacy is None else privacy.event(event)


def _traces(
    reading: Reading,
    starts: dict[Place, int],
    ends: dict[Place, int],
    span: tuple[int, int],
    counts: Counter[str],
) -> list[dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    held = 0
    for message in _within(reading, starts, ends):
        try:
            trace = records.decode_as("assembled_trace", message.value)
        except RecordError as error:
            counts[error.reason] += 1
            continue
        before = newest.get(trace["trace_id"])
        if span[0] <= trace["start"] < span[1] and (
            before is None or before["revision"] < trace["revision"]
        ):
            held += len(trace["spans"]) - (len(before["spans"]) if before else 0)
            bound_events(held)
            newest[trace["trace_id"]] = trace
    return sorted(newest.values(), key=lambda trace: (trace["start"], trace["trace_id"]))


def _whole(out: Path, write: Callable[[Path], int], *, force: bool) -> int:
    """Write a file beside its place and put it there when it is whole."""
    draft = out.with_name(
        f".{out.name.removesuffix('.gz')}.part" + ".gz" * out.name.endswith(".gz")
    )
    try:
        count = write(draft)
        refuse_there(out, force=force)  # another export may have been quicker
        draft.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        draft.unlink(missing_ok=True)
    return count


def _say(
    out: Path, written: int, what: str, counts: Counter[str], as_json: bool, **more: int
) -> None:
    answer = {"file": str(out), what: written, "unreadable": dict(sorted(counts.items())), **more}
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        typer.echo(f"{out}: {written:,} {what}, {counted(counts.total(), 'record')} unreadable")
        for reason, count in sorted(counts.items()):
            typer.echo(f"unreadable {reason}: {count:,}", err=True)
    if counts:
        raise typer.Exit(1)
