"""What is said of a recording that was read, and sent or not.

Invariant: a dry run refuses what the worker would reject, by the same judge, and sends nothing.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final

import numpy as np
import typer

from streams.cli.lines import clean, time_of_day
from streams.codec.events import EventDecoder
from streams.codec.recorded.account import Account, Event, RecordedTrace, RowError, bound_events
from streams.codec.recorded.summary import trace_summary
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.core.columns import Operations
from streams.units import counted

_PATHS_SHOWN: Final = 5
_SERIES_SHOWN: Final = 50
_JUDGED_AT_ONCE: Final = 5_000
_OPERATIONS_MAX: Final = 100_000


def tell_dry(
    events: Iterable[tuple[str, Event]], max_event_bytes: int, account: Account, *, as_json: bool
) -> None:
    """Say what events are, without sending them; end with 1 where the worker would reject some.

    Args:
        events: each with the file that it lies in.
        max_event_bytes: largest one that the worker takes.
        account: what reading them refuses is counted there already.
        as_json: one JSON object instead of text.

    Raises:
        ConfigError: they are too many to be held.
    """
    decoder = EventDecoder(
        default_schemas(), Operations(_OPERATIONS_MAX), max_event_bytes=max_event_bytes
    )
    traces: dict[str, tuple[str, list[Event]]] = {}
    count = 0
    source = _placed(events)
    while some := list(islice(source, _JUDGED_AT_ONCE)):
        values = [encode("telemetry_event", event) for _, event in some]
        _, bad = decoder.decode(0, [None] * len(some), values, np.zeros(len(some), np.int64))
        for row, reason, detail in zip(bad.row, bad.reason, bad.detail, strict=True):
            account.refuse(some[row][0], RowError(reason, detail))
        account.rows += len(some)
        refused = set(bad.row)
        for place, event in (one for row, one in enumerate(some) if row not in refused):
            count += 1
            if event["trace_id"]:
                traces.setdefault(event["trace_id"], (place, []))[1].append(event)
        bound_events(count)
    found = (RecordedTrace(place, trace_id, own) for trace_id, (place, own) in traces.items())
    tell(account, count, 0, [*map(trace_summary, found)], as_json=as_json)


def _placed(events: Iterable[tuple[str, Event]]) -> Iterator[tuple[str, Event]]:
    """Yield events, each with file and number in it."""
    for file, own in groupby(events, itemgetter(0)):
        yield from ((f"{file}, event {n}", event) for n, (_, event) in enumerate(own, start=1))


def tell(
    account: Account,
    count: int,
    sent: int,
    summaries: list[dict[str, Any]],
    *,
    as_json: bool,
    series: Sequence[dict[str, Any]] = (),
) -> None:
    """Say what became of the rows; end with 1 where some were refused.

    Args:
        account: of the rows.
        count: of the events that they became.
        sent: how many of these were sent.
        summaries: of their traces.
        as_json: one JSON object instead of text.
        series: of their metric points.
    """
    answer = {
        "rows": account.rows,
        "merged": account.merged,
        "left_out": account.left_out,
        "events": count,
        "sent": sent,
        "refused": dict(sorted(account.refused.items())),
        "examples": [one._asdict() for one in account.examples],
        "hashed_ids": account.hashed_ids,
        "traces": summaries,
        "series": [*series],
    }
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _show(answer, account)
    if account.refused:
        raise typer.Exit(1)


def show_refused(account: Account) -> None:
    """Say on standard error how many rows were refused, and which were the first."""
    for reason, count in sorted(account.refused.items()):
        typer.echo(f"refused {reason}: {count:,}", err=True)
    for one in account.examples:
        typer.echo(f"{clean(one.place)}: {one.reason}: {clean(one.detail)}", err=True)


def _show(answer: dict[str, Any], account: Account) -> None:
    """Say what became of the rows; refusals and what was left out on standard error."""
    for trace in answer["traces"]:
        said = ", ".join(
            counted(trace[name], name.removesuffix("s"), name)
            for name in ("spans", "logs", "roots", "orphans", "shared", "loops", "duplicates")
            if trace[name]
        )
        skew = f", {trace['skewed']} skewed by up to {trace['skew_max_us']:,} us"
        typer.echo(
            f"{clean(trace['place'])}: trace {trace['trace_id']}: {said}"
            f"{skew if trace['skewed'] else ''}, {trace['duration_us']:,} us"
        )
        longest = sorted(trace["critical_path"], key=lambda one: -one["own_us"])
        for one in longest[:_PATHS_SHOWN]:
            typer.echo(f"  {one['own_us']:>12,} us  {clean(one['call_path'])}")
    for one in answer["series"][:_SERIES_SHOWN]:
        varied = ", ".join(f"{key}={value}" for key, value in sorted(one["dimensions"].items()))
        last = "no value" if one["last"] is None else f"{one['last']:,g}"
        typer.echo(
            f"{clean(one['module'])}: {clean(one['name'])} {{{clean(varied)}}}: "
            f"{counted(one['points'], 'point')}, the last {last} at {time_of_day(one['last_us'])}"
        )
    if len(answer["series"]) > _SERIES_SHOWN:
        typer.echo(f"and {len(answer['series']) - _SERIES_SHOWN:,} more series (--json has all)")
    refused = sum(answer["refused"].values())
    typer.echo(
        f"{counted(answer['rows'], 'row')}, {counted(answer['events'], 'event')}, "
        f"{answer['sent']:,} sent, "
        f"{refused:,} refused, {answer['left_out']:,} left out"
    )
    show_refused(account)
    if answer["merged"]:
        typer.echo(f"{answer['merged']:,} of the rows tell more of another row's span", err=True)
    if answer["hashed_ids"]:
        ids = counted(answer["hashed_ids"], "id")
        typer.echo(f"{ids} in other than hex digits: hashed", err=True)
