"""Rules speak from thresholds and minimum counts on, and alerts speak only when there is news."""

from dataclasses import replace
from typing import Any

from streams.core.alerts.book import AlertBook
from streams.core.alerts.finding import Finding, fingerprint, span_text, time_text
from streams.core.alerts.rules import evaluate
from streams.core.alerts.settings import RuleSettings
from streams.core.alerts.silence import SilenceWatch
from streams.core.fidelity.merge import MergedWindows, MergeSettings
from streams.core.fidelity.rolling import Scope
from streams.core.incidents.topology import Edge, Place, Topology

SECOND = 1_000_000
MERGE = MergeSettings(
    window_us=SECOND,
    rollup_us=5 * SECOND,
    short_us=5 * SECOND,
    long_us=30 * SECOND,
    amend_us=60 * SECOND,
)
RULES = RuleSettings(silent_us=3 * SECOND, quiet_us=3 * SECOND, warm_up_us=2 * SECOND)
EDGE = Scope("edge", "f", "a", "b", "B")
STAGE = Scope("stage", "f", "", "b", "B")
MODULE = Scope("module", "", "", "", "B")
TOPOLOGY = Topology(
    edges=(Edge("f", "a", "b"), Edge("f", "b", "c")),
    stage_module={Place("f", "a"): "A", Place("f", "b"): "B", Place("f", "c"): "C"},
)


def filled(*contents: dict[Scope, dict[str, int]]) -> MergedWindows:
    """Return windows of one partition, one second each, all of them ended."""
    windows = MergedWindows(MERGE)
    for second, content in enumerate(contents):
        windows.apply(
            {
                "window_start": second * SECOND,
                "window_us": SECOND,
                "partition": 0,
                "partitions_total": 1,
                "sequence": second,
                "watermark": (second + 1) * SECOND,
                "contract_version": "1",
                "scopes": [
                    {**scope._asdict(), "counters": counters, "samples": []}
                    for scope, counters in content.items()
                ],
            }
        )
        windows.end_next(windows.progress.low_us())
    return windows


def crossing(expected: int, observed: int) -> dict[Scope, dict[str, int]]:
    return {EDGE: {"expected": expected, "observed": observed}}


def found(windows: MergedWindows, topology: Topology = TOPOLOGY) -> list[Finding]:
    return list(evaluate(windows, topology, RULES))


def test_a_burning_edge_is_found_with_its_start() -> None:
    """Three lost of ten in the last two seconds burn both windows since the first of the two."""
    windows = filled(*[crossing(10, 10)] * 10, *[crossing(10, 7)] * 2)
    (finding,) = found(windows)
    assert (finding.kind, finding.severity, finding.count) == ("fidelity_burn", "ERROR", 6)
    assert (finding.since_us, finding.last_us) == (10 * SECOND, 12 * SECOND)
    assert round(finding.value) == 120  # 6 of 50, by 0.1 %
    assert finding.explanation == (
        "The hop a > b of flow f lost 6 of 50 traces in the 5 s up to 1970-01-01T00:00:12Z: burn "
        "rate 120.0, and 50.0 over 30 s, where 14.4 is the limit for an objective of 99.90%."
    )


def test_both_windows_must_burn() -> None:
    """A loss long past burns the long window only, a fresh one after a long calm the short only."""
    assert found(filled(*[crossing(100, 50)] * 10, *[crossing(100, 100)] * 6)) == []
    assert found(filled(*[crossing(1000, 1000)] * 29, crossing(100, 94))) == []


def test_few_records_are_no_share() -> None:
    """Four lost of four are all of them, and still too few to say so."""
    assert found(filled(*[crossing(10, 10)] * 8, crossing(4, 0))) == []


def test_an_acknowledgment_has_a_name_of_its_own() -> None:
    """The same loss before an acknowledgment stage is a missing acknowledgment instead."""
    topology = Topology(edges=TOPOLOGY.edges, acknowledgment=frozenset({Place("f", "b")}))
    windows = filled(*[crossing(10, 10)] * 10, *[crossing(10, 1)] * 2)
    assert [finding.kind for finding in found(windows, topology)] == ["missing_acknowledgment"]


def test_the_start_of_the_stream_is_no_fault() -> None:
    """Traces cut off by the start look lost: warm-up and one short window pass in silence."""
    assert found(filled(*[crossing(40, 10)] * 6)) == []
    assert len(found(filled(*[crossing(40, 10)] * 7))) == 1


def test_stray_errors_and_duplicates_are_no_fault() -> None:
    """One error in a thousand and one duplicate in two thousand stay below every threshold."""
    content = {STAGE: {"spans": 40_000, "errors": 40}, MODULE: {"events": 40_000, "duplicate": 20}}
    assert found(filled(*[content] * 12)) == []


def test_shares_of_stages_and_modules_are_found() -> None:
    """Errors, missed deadlines and duplicates are found where share and count both suffice."""
    healthy = {STAGE: {"spans": 40}, MODULE: {"events": 40}}
    ill = {
        STAGE: {"spans": 40, "errors": 10, "deadline_missed": 20},
        MODULE: {"events": 60, "duplicate": 20},
    }
    kinds = {finding.kind: finding for finding in found(filled(*[healthy] * 10, ill, ill))}
    assert set(kinds) == {"error_spans", "deadline_missed", "duplicate_rate"}
    assert kinds["error_spans"].value == 0.1  # 20 of 200
    assert kinds["deadline_missed"].count == 40
    assert kinds["duplicate_rate"].since_us == 10 * SECOND


def test_skew_is_told_by_its_mean_gap() -> None:
    """Records that arrive before they left show the clock; the value is their mean gap."""
    good = {EDGE: {"gap_count": 40, "gap_sum_us": 40 * 50_000}}
    bad = {EDGE: {"gap_count": 40, "gap_sum_us": -40 * 350_000, "gap_negative": 40}}
    (finding,) = found(filled(*[good] * 10, bad))
    assert (finding.kind, finding.value, finding.unit) == ("clock_skew", -350.0, "ms")
    few = {EDGE: {"gap_count": 40, "gap_sum_us": 0, "gap_negative": 15}}
    assert found(filled(*[good] * 10, *[few] * 5)) == []


def test_restarts_that_come_late_still_count() -> None:
    """Restarts are joined after the fact: the rule looks back twice as far."""
    restarted = {EDGE: {"expected": 40, "observed": 40, "restarted": 8}}
    windows = filled(*[crossing(40, 40)] * 10, restarted, *[crossing(40, 40)] * 7)
    assert [finding.kind for finding in found(windows)] == ["context_restarted"]


# --- silence


def silent(*contents: dict[str, int]) -> list[str]:
    """Return the modules found silent at the end of seconds with these events by module."""
    windows = MergedWindows(MERGE)
    watch = SilenceWatch(RULES)
    last: list[Finding] = []
    for second, content in enumerate(contents):
        windows.apply(
            {
                "window_start": second * SECOND,
                "window_us": SECOND,
                "partition": 0,
                "partitions_total": 1,
                "sequence": second,
                "watermark": (second + 1) * SECOND,
                "contract_version": "1",
                "scopes": [
                    {
                        **Scope("module", "", "", "", module)._asdict(),
                        "counters": {"events": events},
                        "samples": [],
                    }
                    for module, events in content.items()
                ],
            }
        )
        windows.end_next(windows.progress.low_us())
        last = watch.observe(windows, TOPOLOGY)
    return [finding.scope.module for finding in last]


ALL = {"A": 20, "B": 20, "C": 20}


def test_a_module_is_silent_while_its_upstream_goes_on() -> None:
    """No event for three seconds, while what feeds it sends as ever, is silence."""
    assert silent(*[ALL] * 10, *[{"A": 20, "C": 20}] * 2) == []
    assert silent(*[ALL] * 10, *[{"A": 20, "C": 20}] * 3) == ["B"]
    assert silent(*[ALL] * 10, *[{"B": 20, "C": 20}] * 3) == ["A"]


def test_a_source_that_dried_up_silences_nobody_else() -> None:
    """What only lacks input is not silent; the source itself is, as long as others go on."""
    other = {"D": 20}
    assert silent(*[ALL | other] * 10, *[other] * 3) == ["A"]


def test_the_end_of_the_stream_is_no_silence() -> None:
    """When all stop, at once or one after the other down the pipeline, nobody is silent."""
    assert silent(*[ALL] * 10, *[{}] * 5) == []
    drained = [{"B": 20, "C": 20}, {"C": 10}, {}, {}, {}]
    assert silent(*[ALL] * 10, *drained) == []


def test_a_rare_module_may_be_quiet() -> None:
    """A module with long gaps, or with few events due, is not silent by the clock alone."""
    rare = [ALL | ({"R": 40} if second % 4 == 0 else {}) for second in range(20)]
    assert silent(*rare, *[ALL] * 4) == []
    slow = [ALL | {"S": 1} for _ in range(20)]
    assert silent(*slow, *[ALL] * 8) == []
    assert silent(*slow, *[ALL] * 10) == ["S"]


# --- the book


def finding(end: int, fresh: int = 4, severity: str = "ERROR", since: int = 10) -> Finding:
    return Finding(
        "fidelity_burn", EDGE, severity, since * SECOND, end * SECOND, fresh, fresh,
        100.0, 14.4, "burn rate", "It burns.",
    )  # fmt: skip


def told(alerts: list[dict[str, Any]]) -> list[tuple[int, str, int]]:
    return [(alert["version"], alert["state"], alert["count"]) for alert in alerts]


def test_an_alert_speaks_when_its_count_doubled() -> None:
    """Between two doublings it is silent; the count goes on all the same."""
    book = AlertBook(RULES)
    spoken = [told(book.update(end * SECOND, [finding(end)], "1")) for end in range(11, 20)]
    assert [s[0] for s in spoken if s] == [
        (1, "FIRING", 4),
        (2, "FIRING", 8),
        (3, "FIRING", 16),
        (4, "FIRING", 32),
    ]


def test_an_alert_speaks_when_it_becomes_worse() -> None:
    """A higher severity is told at once; a lower one is no news and is not taken over."""
    book = AlertBook(RULES)
    book.update(11 * SECOND, [finding(11, fresh=100)], "1")
    (alert,) = book.update(12 * SECOND, [finding(12, severity="CRITICAL")], "1")
    assert (alert["severity"], alert["version"]) == ("CRITICAL", 2)
    assert book.update(13 * SECOND, [finding(13, severity="WARN")], "1") == []
    assert book.states[alert["fingerprint"]].alert["severity"] == "CRITICAL"


def test_an_alert_does_not_become_worse_by_what_leaves_the_look_back() -> None:
    """Without a new violation a share of more is no news; one that was counted late is."""
    book = AlertBook(RULES)
    book.update(11 * SECOND, [finding(11, fresh=100)], "1")
    over = replace(finding(11, fresh=100, severity="CRITICAL"), fresh=0)
    assert book.update(12 * SECOND, [over], "1") == []
    (alert,) = book.update(13 * SECOND, [replace(over, count=101)], "1")
    assert (alert["severity"], alert["count"]) == ("CRITICAL", 101)


def test_an_alert_ends_after_its_quiet_time() -> None:
    """Absent for less than the quiet time it goes on; then it is resolved, once."""
    book = AlertBook(RULES)
    book.update(11 * SECOND, [finding(11)], "1")
    assert book.update(13 * SECOND, [], "1") == []
    assert told(book.update(14 * SECOND, [], "1")) == [(2, "RESOLVED", 4)]
    assert book.update(15 * SECOND, [], "1") == []


def test_versions_rise_over_episodes_and_oblivion() -> None:
    """A new episode goes on counting; so does one whose predecessor was forgotten."""
    book = AlertBook(RULES)
    book.update(11 * SECOND, [finding(11)], "1")
    book.update(20 * SECOND, [], "1")
    (again,) = book.update(31 * SECOND, [finding(31, since=30)], "")
    assert (again["version"], again["firing_since"]) == (3, 30 * SECOND)
    assert again["contract_version"] == "1"
    book.update(40 * SECOND, [], "1")
    forgotten_us = 40 * SECOND + RULES.forget_us
    book.update(forgotten_us, [], "1")
    assert not book.states
    (new,) = book.update(forgotten_us + SECOND, [finding(forgotten_us // SECOND + 1)], "1")
    assert new["version"] == 5


def test_alerts_are_bounded() -> None:
    """Beyond the bound a finding is counted and not kept."""
    book = AlertBook(RuleSettings(max_alerts=1))
    other = Finding("error_spans", STAGE, "ERROR", 0, SECOND, 9, 9, 0.5, 0.05, "ratio", "It fails.")
    assert len(book.update(SECOND, [finding(11), other], "1")) == 1
    assert book.discarded["alert_over_bound"] == 1


def test_fingerprints_differ_with_their_parts() -> None:
    """Parts that read alike when joined are told apart; equal parts are equal."""
    assert fingerprint("k", "m", "", "a|b", "c", "") != fingerprint("k", "m", "", "a", "b|c", "")
    assert fingerprint("k", "m", "", "a\\", "b", "") != fingerprint("k", "m", "", "a", "\\b", "")
    assert fingerprint("k", "m", "", "a", "b", "n") == fingerprint("k", "m", "", "a", "b", "n")
    assert len(fingerprint("k", "m", "", "a", "b", "n")) == 32


def test_times_read_as_people_write_them() -> None:
    """Spans take the largest whole unit; times are ISO 8601 in UTC."""
    assert [span_text(s * SECOND) for s in (5, 90, 300, 3600)] == ["5 s", "90 s", "5 min", "1 h"]
    assert time_text(1_700_000_000 * SECOND) == "2023-11-14T22:13:20Z"
