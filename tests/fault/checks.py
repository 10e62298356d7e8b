"""Holds what was published against the oracle: what is lost, what is there twice, what is wrong.

Owns the three counts and the words for the first few findings of each kind. Everything is read
`read_committed`, as a reader of the derived topics would.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.codec.records import decode
from tests.fault import incidents
from tests.fault.harness import TRACES, Event, balance, highest, read_committed
from tests.fault.oracle import WINDOW_US, Identity, Scope, Trace, Truth, identity_of

STATS: Final = "fidelity.stats.v1"
ALERTS: Final = "alerts.raised.v1"
INCIDENTS: Final = "incidents.events.v1"
REJECTED: Final = "telemetry.rejected.v1"
FRAGMENTS: Final = "traces.fragments.v1"
COMPARED_KINDS: Final = ("total", "flow", "edge", "module")
PROBLEMS_SHOWN: Final = 5
ACCOUNTS: Final = (
    "accepted",
    "joined",
    "duplicate",
    "late",
    "untraced",
    "rejected",
    "evicted",
    "open",
)


@dataclass
class Verdict:
    """What the checks found.

    Attributes:
        lost: traces and events of traces that are in no highest revision, rejected records and
            windows that were never told.
        repeated: records that were published twice, and gaps in revisions.
        wrong: highest revisions, windows and accounts that say something else than the oracle.
        problems: the first findings of each kind, in words.
        figures: how much was compared.
    """

    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether nothing is lost, repeated or wrong."""
        return not (self.lost or self.repeated or self.wrong)

    def add(self, kind: str, what: str, found: Sequence[object], count: int | None = None) -> None:
        """Count findings of a kind; the first ones are kept in words."""
        n = len(found) if count is None else count
        setattr(self, kind, getattr(self, kind) + n)
        if n:
            shown = ", ".join(str(one) for one in found[:PROBLEMS_SHOWN])
            self.problems.append(f"{kind}: {n} {what}: {shown}")


def check(broker: str, truth: Truth, accounts: dict[str, int], from_us: int) -> Verdict:
    """Compare all derived topics with the oracle.

    Args:
        broker: bootstrap address.
        truth: what must be there.
        accounts: what the workers say of their input.
        from_us: windows that begin before are not compared: nothing but ancient events is there.
    """
    verdict = Verdict()
    traces = read_records(broker, TRACES)
    check_traces(verdict, traces, truth)
    stats = read_records(broker, STATS)
    check_windows(verdict, stats, truth, from_us)
    check_incidents(verdict, read_records(broker, ALERTS), read_records(broker, INCIDENTS))
    check_fragments(verdict, read_records(broker, FRAGMENTS))
    check_rejected(verdict, read_records(broker, REJECTED), truth)
    check_accounts(verdict, accounts, truth)
    return verdict


def read_records(broker: str, topic: str) -> list[Event]:
    """Return all committed records of a topic, decoded."""
    return [decode(m.value) for m in read_committed(broker, topic)]


# --- alerts and incidents


def check_incidents(verdict: Verdict, alerts: Sequence[Event], events: Sequence[Event]) -> None:
    """Compare the incidents with the alerts that they were made of."""
    check_versions(verdict, "alert", alerts, ("fingerprint",), "version")
    check_versions(verdict, "incident", events, ("incident_id",), "version")
    verdict.add("lost", "alerts that no incident tells", incidents.untold(alerts, events))
    verdict.add("wrong", "lives of incidents out of order", incidents.disorder(events))
    verdict.add("wrong", "alerts in two open incidents", incidents.doubled(events))
    too_many = incidents.overcounted(alerts, events)
    verdict.add("repeated", "alert states counted twice", [too_many] if too_many else [])


# --- traces


def check_traces(verdict: Verdict, traces: Sequence[Event], truth: Truth) -> None:
    """Compare the highest revision of each trace with the oracle's."""
    check_versions(verdict, "trace", traces, ("trace_id",), "revision")
    valid = highest(traces)
    wanted = truth.traces
    verdict.figures |= {
        "traces": len(wanted),
        "trace_events": truth.spans,
        "trace_revisions": len(traces),
    }
    absent = sorted(wanted.keys() - valid.keys())
    verdict.add("lost", "traces", absent)
    verdict.add("wrong", "traces invented", sorted(valid.keys() - wanted.keys()))
    lost, invented, differing = [], [], []
    for trace_id in sorted(wanted.keys() & valid.keys()):
        found, expected = valid[trace_id], wanted[trace_id]
        there: Counter[Identity] = Counter(identity_of(event) for event in found["spans"])
        lost += [f"{trace_id}/{i[1]}" for i in expected.identities - there.keys()]
        invented += [f"{trace_id}/{i[1]}" for i in there.keys() - expected.identities]
        invented += [f"{trace_id}/{i[1]} twice" for i, n in there.items() if n > 1]
        difference = _difference(found, expected)
        if difference and there.keys() == expected.identities:
            differing.append(f"{trace_id} r{found['revision']}: {difference}")
    verdict.add("lost", "events of traces", lost)
    verdict.problems += [_history(traces, one) for one in lost[:PROBLEMS_SHOWN]]
    verdict.add("wrong", "events in a trace that should not be there", invented)
    verdict.add("wrong", "traces judged otherwise", differing)


def _history(traces: Sequence[Event], lost: str) -> str:
    """Say which revisions of a trace there are, and which of them hold the lost event."""
    trace_id, _, name = lost.partition("/")
    told = [
        f"r{t['revision']} {t['status']} by {t['closed_by']}, {len(t['spans'])} events"
        + (", holds it" if any(identity_of(event)[1] == name for event in t["spans"]) else "")
        for t in traces
        if t["trace_id"] == trace_id
    ]
    return f"the revisions of {lost}: {'; '.join(told)}"


def _difference(found: Event, expected: Trace) -> str:
    """Say in which field a trace differs, "" when in none."""
    rows = sorted(
        (m["span_id"], m["module"], m["component"], m["name"], m["from_stage"], m["to_stage"])
        for m in found["missing"]
    )
    pairs = (
        ("flow", found["flow"], expected.flow),
        ("status", found["status"], expected.status),
        ("missing", rows, sorted(expected.missing)),
        ("span_count", found["span_count"], sum(is_span for is_span, _ in expected.identities)),
    )
    return "; ".join(f"{name} {a!r}, not {b!r}" for name, a, b in pairs if a != b)


# --- what has versions


def check_versions(
    verdict: Verdict, what: str, records: Iterable[Event], identity: Sequence[str], version: str
) -> None:
    """Count versions that are there twice, and those that are left out before a later one."""
    seen: Counter[tuple[tuple[object, ...], int]] = Counter()
    for record in records:
        seen[tuple(record[name] for name in identity), record[version]] += 1
    verdict.figures[f"{what}_versions"] = seen.total()
    twice = [f"{at} {number}" for (at, number), n in seen.items() if n > 1]
    verdict.add("repeated", f"{what} versions published twice", twice)
    numbers: dict[tuple[object, ...], set[int]] = {}
    for at, number in seen:
        numbers.setdefault(at, set()).add(number)
    gaps = [f"{at} up to {max(n)}" for at, n in numbers.items() if len(n) != max(n)]
    verdict.add("repeated", f"gaps in the versions of a {what}", gaps)


def check_fragments(verdict: Verdict, fragments: Sequence[Event]) -> None:
    """Count fragments (one for each revision of a trace that lacks an end) that are there twice."""
    seen = Counter((f["trace_id"], f.get("revision", 0)) for f in fragments)
    verdict.figures["fragments"] = seen.total()
    verdict.add("repeated", "fragments published twice", [at for at, n in seen.items() if n > 1])


# --- windows


def check_windows(verdict: Verdict, stats: Sequence[Event], truth: Truth, from_us: int) -> None:
    """Compare the highest revision of each row of each window with a recount."""
    names = ("window_us", "window_start", "kind", "flow", "from_stage", "to_stage", "module")
    check_versions(verdict, "window", stats, names, "revision")
    missing, wrong, compared = compare_windows(stats, truth, from_us)
    verdict.figures["windows_compared"] = compared
    verdict.add("lost", "windows of a scope never told", missing)
    verdict.add("wrong", "windows counted otherwise", wrong)


def compare_windows(
    stats: Sequence[Event], truth: Truth, from_us: int
) -> tuple[list[str], list[str], int]:
    """Return the rows that are missing, those that differ, and how many were compared."""
    valid: dict[tuple[int, Scope], Event] = {}
    for row in stats:
        if row["window_us"] != WINDOW_US or row["kind"] not in COMPARED_KINDS:
            continue
        scope = (row["kind"], row["flow"], row["from_stage"], row["to_stage"], row["module"])
        at = row["window_start"], scope
        if at not in valid or row["revision"] > valid[at]["revision"]:
            valid[at] = row
    missing, wrong = [], []
    wanted = {
        (start_us, scope): counts
        for start_us, window in truth.windows.items()
        if start_us >= from_us
        for scope, counts in window.items()
    }
    for at, counts in sorted(wanted.items()):
        found = valid.get(at)
        if found is None:
            missing.append(f"{at[0]} {'/'.join(at[1])}")
        elif (told := _told(found)) != counts:
            wrong.append(f"{at[0]} {'/'.join(at[1])} r{found['revision']}: {told}, not {counts}")
    for at, found in sorted(valid.items()):
        if at[0] >= from_us and at not in wanted and any(_told(found)):
            wrong.append(f"{at[0]} {'/'.join(at[1])}: {_told(found)}, not 0")
    return missing, wrong, len(wanted)


def _told(row: Event) -> tuple[int, int]:
    """Return the two counts of a row that the oracle recounts."""
    if row["kind"] == "module":
        return row["counters"].get("events", 0), row["counters"].get("untraced", 0)
    return row["expected"], row["observed"]


# --- rejected records and accounts


def check_rejected(verdict: Verdict, rejected: Sequence[Event], truth: Truth) -> None:
    """Compare the rejected records with those that the oracle refuses."""
    seen = Counter((r["topic"], r["partition"], r["offset"]) for r in rejected)
    reasons = {(r["topic"], r["partition"], r["offset"]): r["reason"] for r in rejected}
    verdict.figures["rejected"] = len(truth.rejected)
    verdict.add("repeated", "rejected twice", [at for at, n in seen.items() if n > 1])
    verdict.add("lost", "bad records not rejected", sorted(truth.rejected.keys() - seen.keys()))
    verdict.add("wrong", "good records rejected", sorted(seen.keys() - truth.rejected.keys()))
    other = [
        f"{at}: {reasons[at]}, not {reason}"
        for at, reason in truth.rejected.items()
        if reasons.get(at, reason) != reason
    ]
    verdict.add("wrong", "rejected for another reason", other)


def check_accounts(verdict: Verdict, accounts: dict[str, int], truth: Truth) -> None:
    """Compare the accounts with the oracle's, and see whether they balance."""
    differing = [
        f"{name} {accounts.get(name, 0)}, not {truth.accounting[name]}"
        for name in ACCOUNTS
        if accounts.get(name, 0) != truth.accounting[name]
    ]
    verdict.add("wrong", "accounts", differing)
    left = balance({name: accounts.get(name, 0) for name in ACCOUNTS})
    verdict.add("wrong", "events that no account explains", [left] if left else [])
