"""`spanloom replay jaeger|zipkin|csv`: recordings of other systems, read, judged and sent.

Invariant: rows that are refused are counted with reason and
place, and make the command end with 1 although the others were sent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from streams.cli.connection import replay_of
from streams.cli.moments import moment_us
from streams.cli.replay_account import tell
from streams.codec.checks import TIMESTAMP_MAX_US
from streams.codec.recorded.account import (
    Account,
    Event,
    RecordedTrace,
    RowError,
    bound_events,
)
from streams.codec.recorded.fields import COMPONENT
from streams.codec.recorded.jaeger import jaeger_traces
from streams.codec.recorded.mapping import load_mapping
from streams.codec.recorded.summary import series_summaries, trace_summary
from streams.codec.recorded.table import table_events
from streams.codec.recorded.zipkin import zipkin_traces
from streams.runtime.build import load_pipeline, services_of
from streams.settings import WorkerSettings, load_settings

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, plain or .gz.")]
Broker = Annotated[str | None, typer.Option(help="Bootstrap address, HOST:PORT.")]
Speed = Annotated[str, typer.Option(help="Times real time, or `max`.")]
Contract = Annotated[str | None, typer.Option(help="Path of the contract, or `seed`.")]
ShiftTo = Annotated[
    str, typer.Option(help="Move all times so that the first is this: ISO 8601 with an offset.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what the files hold.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option(help="Show no progress.")]
_Source = TypeVar("_Source")
"""A file, or all files of a command, where what belongs together may lie in several."""
_Traces = Iterator[RecordedTrace]
Table = Annotated[Path, typer.Option("--mapping", "-m", help="Which column is which field.")]


def jaeger(
    files: Files,
    broker: Broker = None,
    speed: Speed = "max",
    contract: Contract = None,
    shift_to: ShiftTo = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send the traces of Jaeger's JSON: what its page downloads or its interface answers.

    Ends with 1 when rows were refused; the others were sent.

    Example: spanloom replay jaeger traces.json --broker 127.0.0.1:9092
    """
    settings = load_settings(broker=broker, contract=contract)
    sender = _Sender(settings, speed, shift_to, dry_run=dry_run, as_json=as_json, quiet=quiet)
    sender.send_traces(files, jaeger_traces)


def zipkin(
    files: Files,
    broker: Broker = None,
    speed: Speed = "max",
    contract: Contract = None,
    shift_to: ShiftTo = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send the traces of Zipkin's JSON, version 2; both sides of a shared span become spans.

    Ends with 1 when rows were refused; the others were sent.

    Example: spanloom replay zipkin trace.json --dry-run
    """
    settings = load_settings(broker=broker, contract=contract)
    sender = _Sender(settings, speed, shift_to, dry_run=dry_run, as_json=as_json, quiet=quiet)
    sender.send_traces([files], zipkin_traces)


def csv(
    files: Files,
    mapping: Table,
    broker: Broker = None,
    speed: Speed = "max",
    contract: Contract = None,
    shift_to: ShiftTo = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send the rows of tables, by a mapping file; counts of a night beside single events.

    Ends with 1 when rows were refused; the others were sent.

    Example: spanloom replay csv orders.csv nightly-*.csv --mapping orders.yaml
    """
    settings = load_settings(broker=broker, contract=contract)
    sender = _Sender(settings, speed, shift_to, dry_run=dry_run, as_json=as_json, quiet=quiet)
    sender.send_tables(files, mapping)


class _Sender:
    """Sends what files hold, or says it, and accounts for it.

    Raises:
        ConfigError: a flag is wrong.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        speed: str,
        shift_to: str,
        *,
        dry_run: bool,
        as_json: bool,
        quiet: bool,
    ) -> None:
        self._settings = settings
        self._pipeline = load_pipeline(settings)
        self._speed = speed
        form = "a time like 2026-01-31T12:00Z"
        self._shift_us = moment_us(shift_to, "--shift-to", form) if shift_to else None
        self._dry_run = dry_run
        self._as_json = as_json
        self._quiet = quiet
        self._account = Account(withholds=self._pipeline.privacy is not None)
        self._places: dict[str, str] = {}  # of rows by event id, of traces by trace id

    def send_traces(
        self, sources: Iterable[_Source], reader: Callable[[_Source, Account], _Traces]
    ) -> None:
        traces = []
        count = 0
        for source in sources:
            for trace in reader(source, self._account):
                count += len(trace.events)
                bound_events(count)
                if trace.events:  # all of its rows may have been refused
                    traces.append(trace)
        self._places = {trace.trace_id: trace.place for trace in traces}
        self._finish(
            [event for trace in traces for event in trace.events],
            [trace_summary(trace) for trace in traces] if self._dry_run else [],
        )

    def send_tables(self, files: list[Path], mapping: Path) -> None:
        found = table_events(files, load_mapping(mapping), self._account)
        self._places = {event["event_id"]: place for place, event in found}
        events = [event for _, event in found]
        if not self._dry_run:
            self._finish(events, [])
            return
        traces: dict[str, tuple[str, list[Event]]] = {}
        for place, event in found:
            if event["trace_id"]:
                traces.setdefault(event["trace_id"], (place, []))[1].append(event)
        recorded = [RecordedTrace(place, name, own) for name, (place, own) in traces.items()]
        self._finish(events, [*map(trace_summary, recorded)], series_summaries(events))

    def _finish(
        self,
        events: list[Event],
        summaries: list[dict[str, Any]],
        series: Sequence[dict[str, Any]] = (),
    ) -> None:
        events.sort(key=lambda event: int(event["timestamp"]))
        sent = 0
        if not self._dry_run:
            good = list(self._placed(events))
            replay = replay_of(self._pipeline, self._settings, self._speed, is_quiet=self._quiet)
            sent = replay.send(good)
        as_json = self._as_json
        tell(self._account, len(events), sent, summaries, as_json=as_json, series=series)

    def _placed(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events at the times and with the module names that are sent."""
        services = services_of(self._pipeline.contract)
        move_us: int | None = None
        for event in events:
            if move_us is None:
                move_us = 0 if self._shift_us is None else self._shift_us - event["timestamp"]
            event["timestamp"] += move_us
            if not 0 < event["timestamp"] <= TIMESTAMP_MAX_US:
                what = f"{event['timestamp']} us; --shift-to moves the recording"
                place = self._places.get(event["event_id"]) or self._places[event["trace_id"]]
                self._account.refuse(place, RowError("invalid_time", what))
                continue
            found = services.place(event["module"])
            event["module"] = found.module
            if event["component"] == COMPONENT and found.component:
                event["component"] = found.component
            yield event
