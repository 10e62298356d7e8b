"""The verdict as people read it: a failing report shows every failure, a passing one none."""

import copy
from typing import Any

from rich.console import Console

from streams.cli.demo_verdict import EDGES_SHOWN_MAX, print_report
from streams.simulate.report import failures

GOOD: dict[str, Any] = {
    "produced": 1_234,
    "accounting": {
        "accepted": 1_234, "joined": 1_200, "duplicate": 20, "late": 0, "untraced": 14,
        "rejected": 0, "evicted": 0, "open": 0, "balanced": True,
    },
    "faults": [
        {
            "kind": "module_silent", "where": "GAMMA", "start_us": 1_000_000, "end_us": 3_500_000,
            "found": True, "incidents": 1, "incident_ids": ["aaaaaaaa-1111"],
        }
    ],
    "false_incidents": 0,
    "false_incident_list": [],
    "fidelity": [
        {"edge": "record:parser>validation", "estimated": 1.0, "true": 1.0, "expected": 480},
        {"edge": "record:routing>delivery", "estimated": 0.9505, "true": 0.9506, "expected": 300},
        {"edge": "record:never>seen", "estimated": None, "true": None, "expected": 0},
    ],
    "spans_per_second": 700.0,
}  # fmt: skip


def printed(report: dict[str, Any]) -> str:
    """Return what a person reads, on a wide terminal without colours."""
    console = Console(width=200, color_system=None, force_terminal=False)
    with console.capture() as capture:
        print_report(report, console)
    return capture.get()


def a_bad_report() -> dict[str, Any]:
    """Return a report in which everything that can be wrong is wrong."""
    report = copy.deepcopy(GOOD)
    report["accounting"] |= {"accepted": 1_233, "balanced": False}
    report["faults"][0] |= {"found": False, "incidents": 0, "incident_ids": []}
    report["false_incidents"] = 1
    false = {"incident_id": "bbbbbbbb-2222", "title": "Module PHI is silent", "opened_at": 5}
    report["false_incident_list"] = [false]
    report["fidelity"][0]["estimated"] = 0.9
    return report


def test_a_good_report_ends_with_the_verdict() -> None:
    """Counts, faults, fidelity and one line that says all is well."""
    text = printed(GOOD)
    assert "✗" not in text
    last = text.strip().splitlines()[-1]
    assert last == (
        "✓ 1,234 events, all accounted for; 1 of 1 faults found; no false incident; "
        "fidelity within 0.1 points of the truth."
    )
    for shown in ("balanced", "GAMMA", "2.5", "aaaaaaaa", "95.05 %", "95.06 %", "100.00 %"):
        assert shown in text


def test_a_failing_report_shows_every_failure() -> None:
    """Each sentence of `failures` is printed, after all tables, and no praise with them."""
    report = a_bad_report()
    text = printed(report)
    problems = failures(report)
    assert len(problems) == 5
    assert text.strip().splitlines()[-5:] == [f"✗ {problem}" for problem in problems]
    assert "not balanced" in text
    assert "false incident bbbbbbbb Module PHI is silent" in text
    assert "all accounted for" not in text


def test_words_of_an_incident_are_not_markup() -> None:
    """A title with brackets is printed as it is."""
    report = a_bad_report()
    report["false_incident_list"][0]["title"] = "Stage [bold]x[/bold] of [/red] is slow"
    assert "Stage [bold]x[/bold] of [/red] is slow" in printed(report)


def test_the_worst_edges_are_shown_first_and_the_rest_counted() -> None:
    """A long list is cut at its good end, and says how much was left out."""
    report = copy.deepcopy(GOOD)
    report["fidelity"] = [
        {"edge": f"f:{i:02}>x", "estimated": i / 100, "true": i / 100, "expected": 9}
        for i in range(EDGES_SHOWN_MAX + 3)
    ][::-1]
    text = printed(report)
    assert text.index("f:00>x") < text.index("f:01>x")
    assert f"f:{EDGES_SHOWN_MAX:02}>x" not in text
    assert "and 3 more" in text


def test_linked_traces_are_told() -> None:
    """How many traces name their record's others; without any, nothing is said of it."""
    assert "1,204 traces of records" in printed(GOOD | {"linked_traces": 1_204})
    assert "traces of records" not in printed(GOOD | {"linked_traces": 0})


def test_what_the_embedded_broker_forgot_is_told() -> None:
    """A busy machine is no fault of the engine's; without any, nothing is said of it."""
    assert "1,204 records were gone before" in printed(GOOD | {"lost_to_retention": 1_204})
    assert "were gone" not in printed(GOOD | {"lost_to_retention": 0})


def test_records_that_were_never_read_are_told_before_what_follows_from_them() -> None:
    """Every fault is missed then, and none of that is the engine's; else nothing is said of it."""
    accounting = GOOD["accounting"] | {"accepted": GOOD["produced"] - 1_204}
    text = " ".join(printed(GOOD | {"accounting": accounting}).split())
    assert "1,204 records were never read" in text
    assert text.index("never read") < text.index("events were produced, but")
    assert "never read" not in printed(GOOD)
