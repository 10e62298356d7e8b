"""The evaluation: how incidents are held against labels, and that a folder is all it needs."""

import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks.incidents import __main__ as command
from benchmarks.incidents import nezha
from benchmarks.incidents.replay import Incident, Recording, Told
from benchmarks.incidents.scoring import Fault, rank_of, result
from streams.core.causes.evidence import LOG_NEW, UNKNOWN, Cause
from streams.core.causes.metric_evidence import Sample, Series
from streams.errors import ConfigError
from streams.units import MINUTE_US, SECOND_US

HOUR = Recording(
    pl.DataFrame(),
    pl.DataFrame(),
    [Sample(Series("a", "x"), at * MINUTE_US, 1.0) for at in (0, 60)],
    modules=frozenset(("a", "b", "c", "d")),
)
FIRST = Fault("1", "return", "a", 10 * MINUTE_US)
SECOND = Fault("2", "return", "b", 30 * MINUTE_US)


def incident(opened: float, last: float, *told: tuple[float, str]) -> Incident:
    """An incident by minutes, and what it named first at which minute."""
    events = [
        Told(
            round(at * MINUTE_US),
            [Cause(1, "", "", "", UNKNOWN, 0.1), Cause(2, module, "", "", LOG_NEW, 0.9)],
        )
        for at, module in told
    ]
    return Incident(round(opened * MINUTE_US), round(last * MINUTE_US), {"a"}, events, 2)


def judged(*incidents: Incident) -> dict[str, object]:
    return dict(result([FIRST, SECOND], list(incidents), HOUR)["totals"])


def test_a_fault_found_while_it_lasts_counts_by_its_last_ranking() -> None:
    """The ranking told last in three minutes counts, not a later one; UNKNOWN takes no place."""
    found = incident(11, 18, (11, "c"), (12, "a"), (17, "d"))
    cases = result([FIRST], [found], HOUR)["cases"]
    assert (rank_of(cases[0]), cases[0]["detected_at_s"]) == (1, 60.0)


def test_a_fault_without_an_incident_is_missed() -> None:
    """No incident in its time: no ranking, no time of detection."""
    totals = judged(incident(11, 13, (11, "a")))
    assert (totals["top1"], totals["missed"], totals["cases"]) == (1, 1, 2)


def test_an_incident_elsewhere_is_false() -> None:
    """What opens in no fault's time counts per hour of telemetry."""
    assert judged(incident(50, 51, (50, "a")))["false_per_hour"] == 1.0


def test_an_incident_that_was_open_before_is_false_and_may_still_name_the_cause() -> None:
    """It opened too early to be the fault's, yet it stands when the fault comes."""
    totals = judged(incident(5, 12, (5, "c"), (11, "a")))
    assert (totals["top1"], totals["false_per_hour"]) == (1, 1.0)


def test_two_faults_in_one_incident_are_an_over_merge() -> None:
    """The second one has no incident of its own."""
    assert judged(incident(10, 33, (11, "a"), (31, "b")))["over_merged"] == 1


def test_two_incidents_for_one_fault_are_a_split() -> None:
    """The one that lasts longer stands for the fault."""
    totals = judged(incident(10, 10.1, (10, "c")), incident(10.5, 13, (11, "a")))
    assert (totals["split"], totals["top1"]) == (1, 1)


def test_chance_is_what_naming_a_place_at_random_would_get() -> None:
    """Two faults among four candidates: half a hit."""
    assert judged()["chance_top1"] == 0.5


MINUTES = 12
FAULT_AT = "2030-01-01 00:10:00"
START_US = 1_893_456_000 * SECOND_US  # 2030-01-01 00:00:00 UTC


def a_day(folder: Path, label: str) -> Path:
    """Write a made-up day: web calls pay, pay calls db; from minute 10 on pay refuses instead."""
    spans = [
        "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration"
    ]
    logs = ["Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log"]
    for number in range(MINUTES * 12):
        at_us = START_US + number * 5 * SECOND_US
        failing = at_us >= START_US + 10 * MINUTE_US
        trace, start, end = f"{number:032x}", at_us * 1000, (at_us + 30_000) * 1000
        rows = [("1", "root", "web-1-x", "/buy", 30_000), ("2", "1", "pay-1-x", "/pay", 20_000)]
        if not failing:
            rows.append(("3", "2", "db-1-x", "/query", 10_000))
        spans += [f"{trace},{s},{p},{pod},{op},{start},{end},{d}" for s, p, pod, op, d in rows]
        text = "ERROR p.Pay#9 refused" if failing else "INFO p.Pay#7 paid"
        line = json.dumps({"log": f"00:00:00.0 {text}\n"}).replace('"', '""')
        logs.append(f'x,{start},n,pay-1-x,server,{trace},2,"{line}"')
    (folder / "trace").mkdir()
    (folder / "00_00_trace.csv").write_text("\n".join(spans) + "\n")
    (folder / "log").mkdir()
    (folder / "log" / "00_00_log.csv").write_text("\n".join(logs) + "\n")
    (folder / "2030-01-01-fault_list.json").write_text(
        json.dumps(
            {"00": [{"inject_time": FAULT_AT, "inject_pod": label, "inject_type": "return"}]}
        )
    )
    return folder


def test_a_folder_is_all_that_the_command_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Services, dates and counts come from the folder; the file has cases and totals."""
    out = tmp_path / "out.json"
    folder = a_day(tmp_path, "pay-1-x")
    assert command.main(["--set", "nezha-tt", "--path", str(folder), "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    (case,) = told["cases"]
    assert (case["truth"], case["ranked"][0], case["kind"]) == ("pay", "pay", "return")
    assert 0 < case["detected_at_s"] <= 60
    assert told["totals"]["top1"] == 1
    assert "by kind of fault" in capsys.readouterr().out


def test_the_label_changes_the_score_and_never_the_ranking(tmp_path: Path) -> None:
    """With a wrong label the same causes are named, and the score falls."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.mkdir()
    wrong.mkdir()
    honest = nezha.run(a_day(right, "pay-1-x"))
    mistaken = nezha.run(a_day(wrong, "web-1-x"))
    assert honest["cases"][0]["ranked"] == mistaken["cases"][0]["ranked"]
    assert (honest["totals"]["top1"], mistaken["totals"]["top1"]) == (1, 0)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    """Without truth there is nothing to score."""
    with pytest.raises(ConfigError, match="fault_list"):
        nezha.faults(tmp_path)


def test_a_set_without_a_module_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set that nobody has built yet ends with 2 and says so."""
    monkeypatch.setitem(command.SETS, "storms", "no_such_file")
    assert command.main(["--set", "storms"]) == 2
    assert "not there yet" in capsys.readouterr().err
