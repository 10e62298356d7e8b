"""`spanloom stats`: what became of the records of a group, how far behind it is, what was refused.

Owns the layout of the answer. Invariant: every number is what the broker holds, and what it cannot
say is said in words (`notes`) instead of being guessed.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import typer
from rich.console import Console

from streams.cli.connection import connect
from streams.cli.lines import clean
from streams.cli.tables import columns_of, print_table, terminal
from streams.codec import records
from streams.codec.plain import plain
from streams.errors import RecordError
from streams.runtime import topics
from streams.runtime.accounts import group_accounts
from streams.runtime.link import Link
from streams.runtime.reading import Reading, Span, committed_offsets
from streams.settings import load_settings
from streams.units import counted

REJECTED_READ_MAX: Final = 100_000
"""Newest rejected records that are read, per partition."""


def run(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    group: str | None = typer.Option(None, help="Consumer group of the workers."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Show a group's accounts, its lag, the size of the derived topics and what was rejected.

    Ends with 0 when the group has committed something, with 1 when it has not.

    Example: spanloom stats --broker 127.0.0.1:9092 --group spanloom
    """
    settings = load_settings(broker=broker, group=group, derived_prefix=derived_prefix)
    link = connect(settings)
    with Reading(link) as reading:
        names = [settings.derived_prefix + name for name in topics.DERIVED]
        answer = build(reading, link, settings.group, names)
    if as_json:
        typer.echo(json.dumps(plain(answer)))
    else:
        show(answer, terminal())
    if answer["accounts"] is None and not answer["lag"]:
        raise typer.Exit(1)


def build(reading: Reading, link: Link, group: str, derived: list[str]) -> dict[str, Any]:
    """Return the answer as one mapping.

    Args:
        reading: a connection.
        link: how it was made.
        group: the workers' consumer group.
        derived: names of the derived topics of this deployment.

    Raises:
        BrokerError: the broker does not answer.
    """
    there = reading.topics()
    found = reading.known(derived)
    held = reading.spans(found)
    committed = committed_offsets(link, group)
    accounts = group_accounts(reading, group)
    if accounts is not None:
        reading.known(sorted(accounts.sources))  # offsets of topics we may not see are left out
    sources = sorted({topic for topic, _ in committed if topic in there})
    ends = reading.spans(sources)
    answer: dict[str, Any] = {"group": group, "accounts": None, "reasons": {}}
    if accounts is not None:
        answer["accounts"] = accounts.accounts | {"open": accounts.open}
        answer["reasons"] = dict(sorted(accounts.reasons.items()))
        answer["partitions_reported"] = accounts.partitions
        answer["partitions_total"] = accounts.partitions_total
    answer["lag"] = _lag(ends, committed)
    answer["topics"] = _sizes(held)
    answer["rejected"], is_cut = _rejected(reading, held)
    answer["notes"] = _notes(answer, set(derived) - set(found), is_cut)
    return answer


def _lag(
    ends: dict[tuple[str, int], Span], committed: dict[tuple[str, int], int]
) -> list[dict[str, Any]]:
    return [
        {
            "topic": topic,
            "partition": partition,
            "committed": committed.get((topic, partition)),
            "end": span.high,
            # An offset older than what is still there lags by what is there, not by what is gone.
            "lag": span.high - max(span.low, committed.get((topic, partition), span.low)),
        }
        for (topic, partition), span in sorted(ends.items())
    ]


def _sizes(held: dict[tuple[str, int], Span]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for (topic, _), span in held.items():
        sizes[topic] += span.high - span.low
    return dict(sorted(sizes.items()))


def _rejected(
    reading: Reading, held: dict[tuple[str, int], Span]
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return per reason a count and the newest example; whether older ones were left out."""
    spans = {at: span for at, span in held.items() if at[0].endswith(topics.REJECTED)}
    starts = {at: max(span.low, span.high - REJECTED_READ_MAX) for at, span in spans.items()}
    found: dict[str, dict[str, Any]] = {}
    for message in reading.records(starts):
        if message is None:
            continue
        try:
            event = records.decode_as("rejected_event", message.value)
        except RecordError as error:
            event = {"reason": f"unreadable: {error.reason}", "topic": message.topic}
            event |= {"partition": message.partition, "offset": message.offset, "detail": ""}
        entry = found.setdefault(event["reason"], {"count": 0})
        entry["count"] += 1
        entry["newest"] = f"{event['topic']}/{event['partition']}@{event['offset']}"
        entry["detail"] = event["detail"]
    is_cut = any(starts[at] > span.low for at, span in spans.items())
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"])), is_cut


def _notes(answer: dict[str, Any], missing: set[str], is_cut: bool) -> list[str]:
    """Return what the numbers do not say."""
    notes = [
        "Accounts are as of each partition's last commit, and since the group began; `open` is "
        "what they leave over.",
        "Offsets of derived topics count markers of transactions, and not what retention removed: "
        "they bound the number of records from above and its total from below.",
        "Lag is as of the last commit; an idle worker has read further than it has committed.",
    ]
    if answer["accounts"] is None:
        notes.append(
            f"No worker of group {answer['group']} has ever committed: there are no accounts."
        )
    elif answer["partitions_reported"] < answer["partitions_total"]:
        silent = answer["partitions_total"] - answer["partitions_reported"]
        of = counted(silent, "partition")
        notes.append(f"Of {of} nothing is committed yet, and nothing is counted here.")
    if missing:
        notes.append(
            f"Topics that are not there: {', '.join(sorted(missing))}. "
            "`spanloom topics create` makes them."
        )
    if is_cut:
        notes.append(
            f"Of the rejected, the newest {REJECTED_READ_MAX:,} offsets a partition were read."
        )
    return notes


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the answer for a person."""
    if answer["accounts"] is not None:
        counts = {**answer["accounts"]}
        counts |= {f"  reason {clean(name)}": n for name, n in answer["reasons"].items()}
        _print_counts(console, f"group {answer['group']}", "account", "events", counts)
    if answer["lag"]:
        by_topic: dict[str, list[int]] = {}
        for row in answer["lag"]:
            by_topic.setdefault(row["topic"], []).append(row["lag"])
        rows = [
            [topic, f"{sum(lags):,}", " ".join(map(str, lags))] for topic, lags in by_topic.items()
        ]
        names = ("topic", "records", "by partition")
        columns = columns_of(*names, numbers=["records"], prose=["by partition"])
        print_table(console, "lag", columns, rows)
    _print_counts(console, "derived", "derived topic", "offsets held", answer["topics"])
    if answer["rejected"]:
        rows = [
            [*map(clean, (reason, f"{one['count']:,}", one["newest"], one["detail"]))]
            for reason, one in answer["rejected"].items()
        ]
        heads = ("rejected because", "events", "newest", "detail")
        columns = columns_of(*heads, numbers=["events"], prose=["detail"])
        print_table(console, "rejected", columns, rows)
    for note in answer["notes"]:
        console.print(note, style="dim", markup=False)


def _print_counts(
    console: Console, title: str, of: str, what: str, counts: Mapping[str, int]
) -> None:
    rows = [[name, f"{count:,}"] for name, count in counts.items()]
    print_table(console, title, columns_of(of, what, numbers=[what]), rows)
