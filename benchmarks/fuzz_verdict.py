"""What became of hostile and good records, from the topics alone, held against what was sent.

Owns the checks of the fuzz run. Invariant: the worker's own accounts are compared with counts that
are made from its output records, never taken for granted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.hostile import ANY, GIANT, JOINED, LATE, OPEN, UNTRACED, Hostile
from streams.codec import records
from streams.errors import RecordError
from streams.runtime import topics
from streams.runtime.accounts import group_accounts
from streams.runtime.reading import Reading
from streams.simulate import Truth

Where = tuple[str, int, int]
"""Topic, partition, offset."""
OUTCOMES = ("joined", "duplicate", "late", "untraced", "rejected", "evicted", "open")
EXAMPLES_MAX = 5


@dataclass
class Sent:
    """What was sent: good events by trace, hostile records by place, counts by kind."""

    good: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    good_count: int = 0
    hostile: dict[Where, Hostile] = field(default_factory=dict)
    by_kind: Counter[str] = field(default_factory=Counter)
    giant_trace_id: str = ""
    behind_max_us: int = 0
    """How late the most delayed good event was sent; later than a wait means revisions."""

    def add_good(self, event: Mapping[str, Any]) -> None:
        """Take note of a good event."""
        self.good_count += 1
        if event["trace_id"]:
            self.good[event["trace_id"]].add(identity(event))


@dataclass
class Found:
    """What came out: the newest revision of each trace, and why each record was rejected."""

    status: dict[str, str] = field(default_factory=dict)
    revision: dict[str, int] = field(default_factory=dict)
    events: dict[str, set[str]] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    evicted: dict[str, int] = field(default_factory=dict)
    rejected: dict[Where, str] = field(default_factory=dict)
    rejected_twice: int = 0


def identity(event: Mapping[str, Any]) -> str:
    """Return what tells an event from the others of its trace."""
    return str(event["span_id"] if event["event_type"] == "TRACE" else event["event_id"])


def verdict(
    reading: Reading, group: str, sent: Sent, accounts: Counter[str], truth: Truth
) -> tuple[dict[str, Any], list[str]]:
    """Return the report and what is wrong, one sentence each."""
    found = read(reading)
    committed = group_accounts(reading, group)
    accounted, problems = _kinds(sent, found)
    problems += _accounting(sent, found, accounts, accounted, truth)
    harmed = _harmed(sent, found)
    if harmed:
        examples = "; ".join(harmed[:EXAMPLES_MAX])
        problems.append(f"{len(harmed)} of {len(sent.good)} good traces are not whole: {examples}")
    report = {
        "kinds": {
            kind: {"sent": count, "accounted_as": dict(sorted(accounted[kind].items()))}
            for kind, count in sent.by_kind.items()
        },
        "accounting": {name: accounts[name] for name in ("accepted", *OUTCOMES)},
        "reasons": committed.reasons if committed else {},
        "good": {
            "events": sent.good_count,
            "traces": len(sent.good),
            "harmed": len(harmed),
            "sent_late_max_ms": sent.behind_max_us // 1000,
            "revised": sum(found.revision.get(trace, 0) > 1 for trace in sent.good),
        },
    }
    return report, problems


def read(reading: Reading) -> Found:
    """Return what lies in the topics of traces and of rejected events."""
    found = Found()
    spans = reading.spans([topics.TRACES, topics.REJECTED])
    for message in reading.records({at: span.low for at, span in spans.items()}):
        if message is None:
            continue
        record = records.decode(message.value)
        if message.topic == topics.REJECTED:
            at = record["topic"], record["partition"], record["offset"]
            found.rejected_twice += at in found.rejected
            found.rejected[at] = record["reason"]
        elif record["revision"] > found.revision.get(record["trace_id"], 0):
            trace = record["trace_id"]
            found.revision[trace] = record["revision"]
            found.status[trace] = record["status"]
            found.events[trace] = {identity(event) for event in record["spans"]}
            found.count[trace] = record["span_count"] + record["annotation_count"]
            found.evicted[trace] = record["evicted_count"]
    return found


def _kinds(sent: Sent, found: Found) -> tuple[dict[str, Counter[str]], list[str]]:
    """Return what became of each kind, and what may not have become of it."""
    accounted: dict[str, Counter[str]] = defaultdict(Counter)
    problems = []
    for at, record in sent.hostile.items():
        outcome = _outcome(at, record, found)
        accounted[record.kind][outcome] += 1
        allowed = record.allowed
        if not (ANY in allowed or outcome in allowed):
            place = "{}/{}@{}".format(*at)
            problems.append(f"{record.kind} at {place} became {outcome}, not {sorted(allowed)}.")
    giant = sent.giant_trace_id
    joined = found.count.get(giant, 0)
    accounted[GIANT][JOINED] = joined
    accounted[GIANT]["evicted"] = sent.by_kind[GIANT] - joined
    if sent.by_kind[GIANT] and not joined:
        problems.append("Nothing of the giant trace came out.")
    strange = [at for at in found.rejected if at not in sent.hostile]
    if strange:
        reasons = Counter(found.rejected[at] for at in strange)
        problems.append(f"{len(strange)} good events were rejected: {dict(reasons)}.")
    if found.rejected_twice:
        problems.append(f"{found.rejected_twice} records were rejected twice.")
    return accounted, problems[:20]


def _outcome(at: Where, record: Hostile, found: Found) -> str:
    if at in found.rejected:
        return f"rejected:{found.rejected[at]}"
    try:
        event = records.decode(record.value)
    except RecordError:
        return "accepted, though it cannot be read"
    trace = event["trace_id"].lower()
    if not trace:
        return UNTRACED
    if trace not in found.events:
        # In no trace and not rejected: late, or its trace is open yet. The accounts say how many.
        return LATE if LATE in record.allowed else OPEN
    return JOINED if identity(event) in found.events[trace] else "evicted"


def _accounting(
    sent: Sent,
    found: Found,
    accounts: Counter[str],
    accounted: Mapping[str, Counter[str]],
    truth: Truth,
) -> list[str]:
    """Compare the worker's accounts with counts made from what came out and what was sent."""
    if not accounts:
        return ["The worker printed no accounts."]
    total = sent.good_count + sum(sent.by_kind.values())
    outcomes: Counter[str] = Counter()
    for counts in accounted.values():
        for outcome, count in counts.items():
            outcomes[outcome.partition(":")[0]] += count
    expected = {
        "accepted": total,
        "joined": sum(found.count.values()),
        "duplicate": truth.duplicates_with_trace,
        "untraced": truth.without_trace + outcomes[UNTRACED],
        "rejected": len(found.rejected),
        "evicted": outcomes["evicted"],
    }
    problems = [
        f"The worker's account {name} is {accounts[name]}, counted were {count}."
        for name, count in expected.items()
        if accounts[name] != count
    ]
    left = outcomes[LATE] + outcomes[OPEN]
    if accounts["late"] + accounts["open"] != left:
        problems.append(
            f"{accounts['late']} late and {accounts['open']} open are claimed, {left} are missing."
        )
    if accounts["accepted"] != sum(accounts[name] for name in OUTCOMES):
        problems.append("The outcomes do not add up to the accepted records.")
    return problems


def _harmed(sent: Sent, found: Found) -> list[str]:
    """Return the good traces that did not come out complete, and how they did."""
    harmed = []
    for trace, events in sent.good.items():
        seen = found.events.get(trace, set())
        status = found.status.get(trace, "missing")
        if status != "COMPLETE" or not events <= seen:
            harmed.append(f"{trace} {status} with {len(events & seen)} of {len(events)} events")
    return harmed
