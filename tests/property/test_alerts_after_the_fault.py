"""When a fault is over its alerts do not become worse, whatever came before it, and they end."""

from typing import Any, Final

from hypothesis import event, given
from hypothesis import strategies as st

from streams.core.alerts.book import AlertBook
from streams.core.alerts.finding import SEVERITIES
from streams.core.alerts.rules import evaluate
from streams.core.alerts.settings import RuleSettings
from streams.core.fidelity.merge import MergedWindows, MergeSettings
from streams.core.fidelity.rolling import Scope
from streams.core.incidents.topology import Edge, Place, Topology
from streams.units import SECOND_US

MERGE: Final = MergeSettings(
    window_us=SECOND_US,
    rollup_us=5 * SECOND_US,
    short_us=10 * SECOND_US,
    long_us=30 * SECOND_US,
    amend_us=60 * SECOND_US,
)
RULES: Final = RuleSettings(quiet_us=3 * SECOND_US, warm_up_us=2 * SECOND_US)
LONG: Final = 14
"""Seconds in which the short window and the quiet time pass."""
EDGE: Final = Scope("edge", "f", "a", "b", "B")
STAGE: Final = Scope("stage", "f", "", "b", "B")
TOPOLOGY: Final = Topology(
    edges=(Edge("f", "a", "b"),), stage_module={Place("f", "a"): "A", Place("f", "b"): "B"}
)

_good = st.integers(0, 60).map(lambda n: (n, 0))
_bad = st.integers(20, 60).flatmap(lambda n: st.integers(n // 4, n).map(lambda bad: (n, bad)))
_before = st.lists(_good, min_size=12, max_size=20)
_fault = st.lists(_bad, min_size=1, max_size=8)
_after = st.one_of(st.just([(0, 0)] * LONG), st.lists(_good, min_size=LONG, max_size=LONG))


def states(seconds: list[tuple[int, int]]) -> list[list[dict[str, Any]]]:
    """Return what alerts say at the end of each second of (records, those that go wrong)."""
    windows, book, said = MergedWindows(MERGE), AlertBook(RULES), []
    for number, (count, bad) in enumerate(seconds):
        counters = {
            EDGE: {"expected": count, "observed": count - bad},
            STAGE: {"spans": count, "errors": bad, "deadline": count, "deadline_missed": bad},
        }
        scopes = [{**s._asdict(), "counters": c, "samples": []} for s, c in counters.items()]
        start_us = number * SECOND_US
        windows.apply(
            {
                "window_start": start_us, "window_us": SECOND_US, "partition": 0,
                "partitions_total": 1, "sequence": number, "watermark": start_us + SECOND_US,
                "contract_version": "1", "scopes": scopes,
            }
        )  # fmt: skip
        windows.end_next(windows.progress.low_us())
        findings = evaluate(windows, TOPOLOGY, RULES)
        said.append(book.update(start_us + SECOND_US, findings, "1"))
    return said


@given(_before, _fault, _after)
def test_what_is_over_becomes_no_worse_and_ends(
    before: list[tuple[int, int]], fault: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    """From the second after the last that went wrong, until the look-back holds none of it."""
    said = states([*before, *fault, *after])
    ended = len(before) + len(fault)
    event("alerts" if any(said) else "none")
    worst: dict[str, int] = {}
    last: dict[str, str] = {}
    for number, alerts in enumerate(said):
        for alert in alerts:
            level, known = SEVERITIES.index(alert["severity"]), worst.get(alert["fingerprint"])
            if number >= ended and known is not None and last[alert["fingerprint"]] == "FIRING":
                assert level <= known, alert["explanation"]
            worst[alert["fingerprint"]] = level
            last[alert["fingerprint"]] = alert["state"]
    assert set(last.values()) <= {"RESOLVED"}, "the look-back and the quiet time are over"
