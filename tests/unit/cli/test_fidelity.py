"""Which windows `spanloom fidelity` shows, what it adds up, and what it calls a finding."""

import io
import math
from typing import Any

import pytest
from rich.console import Console

from streams.cli.fidelity import Since, bar, build_view, choose, show
from streams.errors import ConfigError
from streams.units import SECOND_US

MINUTE = 60 * SECOND_US
NAN = math.nan


def row(
    start: int, expected: int, observed: int, *, reported: int = 2, **more: Any
) -> dict[str, Any]:
    """Return a row of edge a>b in the minute number `start`, objective 99 %."""
    return {
        "window_start": start * MINUTE,
        "window_us": MINUTE,
        "revision": 1,
        "kind": "edge",
        "flow": "f",
        "from_stage": "a",
        "to_stage": "b",
        "module": "M",
        "contract_version": "1",
        "partitions_reported": reported,
        "partitions_total": 2,
        "expected": expected,
        "observed": observed,
        "missing": {"LATE": expected - observed},
        "late": 0,
        "duplicate": 0,
        "sampled_out": 0,
        "in_flight": 0,
        "ratio": observed / expected if expected else NAN,
        "slo_ratio": 0.99,
        "burn_rate_short": 1.0,
        "burn_rate_long": 0.5,
        "counters": {"events": 1},
    } | more


def view(rows: list[dict[str, Any]], since: str | None = None) -> dict[str, Any]:
    stretch = choose(rows, Since(since))
    return build_view(([r for r in rows if stretch.holds(r)], stretch))


def test_the_newest_full_window_is_shown() -> None:
    """A younger one that a partition has not passed yet proves nothing."""
    shown = view([row(1, 100, 90), row(2, 100, 100), row(3, 100, 50, reported=1)])
    assert (shown["start_us"], shown["is_full"]) == (2 * MINUTE, True)
    assert shown["below_slo"] == []


def test_without_a_full_window_the_newest_is_shown_and_marked() -> None:
    """A partition without any telemetry never passes anything."""
    shown = view([row(1, 100, 90, reported=1), row(2, 100, 80, reported=1)])
    assert (shown["start_us"], shown["is_full"]) == (2 * MINUTE, False)


def test_an_edge_below_its_objective_is_a_finding() -> None:
    """98 of 100 with an objective of 99 % is one, 99 is none, nothing expected is none."""
    assert view([row(1, 100, 98)])["below_slo"] == ["f/a>b"]
    assert view([row(1, 100, 99)])["below_slo"] == []
    assert view([row(1, 0, 0)])["below_slo"] == []


def test_counts_of_a_stretch_are_added_up() -> None:
    """Three minutes of counts, the burn rates of the last one; older windows stay out."""
    rows = [row(1, 9, 0), row(2, 100, 100), row(3, 100, 97), row(4, 200, 198, burn_rate_short=2.0)]
    [edge] = view(rows, "3m")["edges"]
    assert (edge["expected"], edge["observed"], edge["missing"]) == (400, 395, {"LATE": 5})
    assert (edge["ratio"], edge["burn_rate_short"]) == (395 / 400, 2.0)
    assert edge["budget_used"] == pytest.approx(1.25)
    assert edge["is_below_slo"]


def test_a_stretch_may_begin_at_a_time() -> None:
    """The first whole window from then on is its first."""
    ask = Since("1970-01-01T00:02:01Z")
    assert ask.start_us(5 * MINUTE, MINUTE) == 3 * MINUTE


@pytest.mark.parametrize("text", ["soon", "5", "2026-01-31T12:00", "-3m"])
def test_a_since_that_is_none_says_what_to_write(text: str) -> None:
    """Neither a length nor a time with its zone."""
    with pytest.raises(ConfigError, match="15m"):
        Since(text)


def test_a_touched_budget_shows() -> None:
    """Any loss has a cell, beyond the budget the bar is full and the number tells."""
    assert bar(0.0).startswith("░" * 16)
    assert bar(0.001).startswith("█░")
    assert bar(7.5) == "█" * 16 + " 750 %"
    assert bar(NAN) == ""


def test_the_table_names_losses_and_verdict() -> None:
    """A person sees the edge, the cause and that it is below its objective."""
    out = io.StringIO()
    show(view([row(1, 100, 90)]), Console(file=out, width=160, highlight=False))
    text = out.getvalue()
    assert "f/a>b" in text
    assert "LATE 10" in text
    assert "90.00 %" in text
    assert "below objective: f/a>b" in text


@pytest.mark.parametrize("width", [72, 80, 120])
def test_no_edge_is_cut_on_any_terminal(width: int) -> None:
    """Two edges whose names are cut would look alike: where there is no room each has lines."""
    far = "transfer_beta_gamma"
    rows = [
        row(1, 1_000, 900, from_stage="quality_scoring", to_stage=far),
        row(1, 1_000, 1_000, from_stage="quality_scoring_of_batches", to_stage=far),
    ]
    out = io.StringIO()
    show(view(rows), Console(file=out, width=width, highlight=False))
    text = out.getvalue()
    assert f"f/quality_scoring>{far}" in text
    assert f"f/quality_scoring_of_batches>{far}" in text
    assert "90.00 %" in text
    assert "LATE 100" in text
    assert "1,000 %" in text, "of the error budget"
    assert "…" not in text


def total(start: int, **counters: int) -> dict[str, Any]:
    scope = {"kind": "total", "flow": "", "from_stage": "", "to_stage": "", "module": ""}
    return row(start, 250, 250, missing={}, counters=counters, **scope)


def test_what_was_never_sent_is_told_beside_what_was_seen() -> None:
    """Traces that were not sampled lower no ratio: they are added up, and shown by themselves."""
    rows = [
        total(1, traces=100, complete=100, traces_unsampled=290, spans_unsampled=870),
        total(2, traces=150, complete=150, traces_unsampled=460, spans_unsampled=1380),
        row(2, 250, 250, kind="module", missing={}, counters={"spans_unsampled": 2250}),
    ]
    shown = view(rows, "2m")
    assert shown["total"]["counters"]["traces_unsampled"] == 750
    assert shown["total"]["ratio"] == 1
    out = io.StringIO()
    show(shown, Console(file=out, width=160, highlight=False))
    text = out.getvalue()
    assert "250 seen, 250 of them complete; 750 not sampled, so that 25.00 % are seen" in text
    assert "spans not sampled" in text
    assert "2,250" in text


def test_without_sampling_nothing_is_said_of_it() -> None:
    """No column, no clause."""
    out = io.StringIO()
    show(view([total(1, traces=250, complete=250)]), Console(file=out, width=160, highlight=False))
    assert "250 seen, 250 of them complete" in out.getvalue()
    assert "sampled" not in out.getvalue()


def test_no_verdict_is_made_of_nothing() -> None:
    """Where nothing was to cross an edge, none can be said to meet its objective."""
    for rows in ([row(1, 0, 0)], [row(1, 100, 100)]):
        out = io.StringIO()
        show(view(rows), Console(file=out, width=160, highlight=False))
        is_judged = rows[0]["expected"] > 0
        assert ("every edge meets its objective" in out.getvalue()) is is_judged
        assert ("no objective could be judged" in out.getvalue()) is not is_judged
