"""Answers over long ranges are the same before and after retention summed rows up."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streams.console.archive.archive import Archive
from streams.console.archive.files import HOUR_US
from streams.console.archive.retention import DAY_US
from streams.console.archive.rollup import roll_up
from streams.console.archive.summaries import STEPS_US, SUMMARIES
from streams.console.archive.tiers import Keep
from streams.console.questions.measures import metrics
from streams.console.questions.queries import Queries
from streams.console.questions.tiers import told
from streams.console.questions.volume import BYS, volume
from streams.console.questions.windowseries import fidelity
from streams.console.times import iso
from streams.errors import ConfigError
from streams.runtime import topics
from tests.unit.console.at_hand import (
    SECOND,
    T0_US,
    TELEMETRY,
    Clock,
    archive_in,
    event,
    message,
    trace,
    window,
)
from tests.unit.console.test_questions import ask_of

HOURS = 4
START_US = T0_US // HOUR_US * HOUR_US
END_US = START_US + (HOURS + 1) * HOUR_US
LOST = {"span_id": "", "component": "output", "name": "deliver", "cause": "NEVER_ARRIVED"}
EDGE = {"module": "GAMMA", "from_stage": "enrichment", "to_stage": "output"}


def fill(archive: Archive, chance: random.Random) -> None:
    """Take in four hours of traces, events and windows, each at its own time."""
    for n in range(48):
        at_us = START_US + n * HOURS * HOUR_US // 48 + chance.randrange(60 * SECOND)
        at_ms = at_us // 1000 // 3_600_000 * 3_600_000 + n
        trace_id = f"{n + 1:032x}"
        span = event(
            "span", event_id=f"s-{n}", trace_id=trace_id, timestamp=at_us, links=[],
            module=chance.choice(("ALPHA", "BETA")), severity="INFO",
        )  # fmt: skip
        missing = [LOST | EDGE] if n % 3 == 0 else []
        about = {
            "flow": chance.choice(("a", "b")),
            "status": "INCOMPLETE" if missing else "COMPLETE",
        }
        duration_us = chance.randrange(1, 1_000_000)
        one = trace(trace_id, spans=[span], start=at_us, missing=missing, revision=1, **about)
        for revision in (1, 2) if n % 5 == 0 else (1,):
            whole = one | {"revision": revision, "duration_us": duration_us}
            archive.take(message(topics.TRACES, 2 * n + revision, whole, timestamp_ms=at_ms))
        point = event(
            name="queue_depth", event_id=f"m-{n}", timestamp=at_us, value=float(n % 7), trace_id="",
            dimensions={"b": "1", "a": str(n % 2)},
        )  # fmt: skip
        for offset in (2 * n, 2 * n + 1):  # sent again
            archive.take(message(TELEMETRY, offset, point, timestamp_ms=at_ms))
        begin_us = at_us // (10 * SECOND) * 10 * SECOND
        of = window(window_start=begin_us, revision=1, expected=10, observed=n % 11)
        archive.take(message(topics.STATS, n, of, timestamp_ms=at_ms))
    archive.write_due(all_of_it=True)


def answers(archive: Archive, step_us: int) -> dict[str, Any]:
    """Return what is asked of the archive, without which tier answered."""
    queries, step_s = Queries(archive, 256 << 20, 1), step_us // SECOND
    found: dict[str, Any] = {
        by: volume(queries, START_US, END_US, by, {}, step_s) for by in BYS
    } | {"metrics": metrics(queries, START_US, END_US, "queue*", "a=1", step_s)}
    for one in found.values():
        one.pop("tiers")
        for point in (p for series in one["series"] for p in series["points"]):
            for name, value in point.items():
                if isinstance(value, float):
                    point[name] = round(value, 6)
    series = fidelity(queries, START_US, END_US, [], 1_000)["series"]
    sums: Counter[tuple[Any, ...]] = Counter()
    for one in series:
        for each in one["windows"]:
            at = each["window_start"] // step_us * step_us
            sums[one["to_stage"], at, "expected"] += each["expected"]
            sums[one["to_stage"], at, "observed"] += each["observed"]
    return found | {"fidelity": sums}


@pytest.mark.parametrize("seed", range(1))
def test_the_same_is_answered_of_rows_and_of_what_sums_them_up(tmp_path: Path, seed: int) -> None:
    """By minute, by hour, and where rows and summaries of one time stand beside each other."""
    archive = archive_in(tmp_path, Clock(), rows=11)
    fill(archive, random.Random(seed))
    known = {step_us: answers(archive, step_us) for step_us in STEPS_US.values()}
    assert sum(known[STEPS_US["hour"]]["fidelity"].values()) > 480
    queries = Queries(archive, 256 << 20, 1)
    for hour in (1, 3, HOURS + 1):
        keep = Keep(dict.fromkeys(SUMMARIES, 1.0), {}, {})
        roll_up(archive, keep, [], START_US + DAY_US + hour * HOUR_US + HOUR_US // 2)
        for step_us, wanted in known.items():
            assert answers(archive, step_us) == wanted, hour
    tiers = volume(queries, START_US, END_US, "event", {}, 60)["tiers"]
    assert [one["tier"] for one in tiers] == ["raw", "minute"]
    keep = Keep(dict.fromkeys(SUMMARIES, 1.0), dict.fromkeys(SUMMARIES, 2.0), {})
    roll_up(archive, keep, [], START_US + 4 * DAY_US)
    assert answers(archive, STEPS_US["hour"]) == known[STEPS_US["hour"]]
    found = fidelity(queries, START_US, END_US, [], 1_000)
    assert {one["tier"] for one in found["tiers"]} == {"raw", "hour"}
    lengths = {each["window_us"] for one in found["series"] for each in one["windows"]}
    assert lengths == {10 * SECOND, STEPS_US["hour"]}
    keep = keep._replace(hour_days=dict.fromkeys(SUMMARIES, 3.0))
    roll_up(archive, keep, [], START_US + 9 * DAY_US)
    assert volume(queries, START_US, END_US, "flow", {}, 60)["tiers"][0]["tier"] == "raw"
    assert sum(answers(archive, STEPS_US["hour"])["fidelity"].values()) < 480


def test_volume_is_asked_for_by_what_it_differs_by(tmp_path: Path) -> None:
    """Over HTTP; of one module, of one edge, and of what series do not differ by not at all."""
    archive = archive_in(tmp_path, Clock())
    fill(archive, random.Random(1))
    path = f"/api/v1/volume?start={iso(START_US)}&end={iso(END_US)}&step=3600"
    with ask_of(archive) as ask:
        edges = ask(f"{path}&by=edge&to_stage=output", None).json()
        none = ask(f"{path}&by=edge&to_stage=other", None).json()
        flows = ask(f"{path}&by=flow&flow=a&status=COMPLETE", None).json()
        wrong = ask(f"{path}&by=event&flow=a", None)
        lacking = ask(path, None)
    assert sum(point["count"] for one in edges["series"] for point in one["points"]) == 16
    assert [(one["module"], one["from_stage"]) for one in edges["series"]] == [
        ("GAMMA", "enrichment")
    ] * len(edges["series"])
    assert none["series"] == []
    (series,) = flows["series"]
    assert series["points"][0]["at"] == iso(START_US)
    assert series["points"][0]["duration_p50_us"] <= series["points"][0]["duration_p99_us"]
    assert flows["tiers"][0]["tier"] == "raw"
    assert (wrong.status_code, lacking.status_code) == (400, 400)
    assert wrong.json()["error"].startswith("flow")


def test_too_many_points_are_refused(tmp_path: Path) -> None:
    """Naming the step."""
    queries = Queries(archive_in(tmp_path), 256 << 20, 1)
    with pytest.raises(ConfigError, match="step"):
        volume(queries, 0, 1 << 60, "flow", {}, 1)


def test_tiers_are_told_by_their_times() -> None:
    """From the first step to the end of the last one."""
    found = told([(2, 0, 60), (0, 120, 10), (2, 60, 60)])
    assert found == [
        {"tier": "raw", "start": 120, "end": 130},
        {"tier": "hour", "start": 0, "end": 120},
    ]
