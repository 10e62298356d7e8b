"""The evaluation: how incidents are held against labels, and that a folder is all it needs."""

import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks.incidents import __main__ as command
from benchmarks.incidents import flap, nezha, petshop
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--help"], "--path DIR"), (["--set", "storms", "--help"], "--quiet-runs")],
)
def test_help_is_given_with_and_without_a_set(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who does not know the sets asks for help first; with a set it has the set's options."""
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert words in shown
    assert 'make bench-incidents ARGS="' in shown


def test_every_report_has_every_key() -> None:
    """What a set does not measure is null, so that one reader serves all sets."""
    found = command.completed({"cases": [{"id": "x", "kind": "load"}], "totals": {"cases": 1}})
    assert list(found["cases"][0]) == list(command.CASE_KEYS)
    assert (found["cases"][0]["kind"], found["cases"][0]["ranked"]) == ("load", None)
    assert set(found["totals"]) == set(command.TOTAL_KEYS)
    assert found["totals"]["cases"] == 1


def test_a_set_that_does_not_hold_its_bound_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code says what the totals say."""
    failing = {"cases": [], "totals": {"cases": 0, "passed": False}}
    monkeypatch.setattr(flap, "run", lambda path: failing)
    assert command.main(["--set", "flap"]) == 1


def test_a_day_is_read_from_folders_as_from_archives(tmp_path: Path) -> None:
    """The source publishes the folders `trace`, `log` and `metric`, not archives of them."""
    flat, published = tmp_path / "flat", tmp_path / "published"
    flat.mkdir()
    published.mkdir()
    told = nezha.run(a_day(flat, "pay-1-x"))
    a_day(published, "pay-1-x")
    (published / "00_00_trace.csv").rename(published / "trace" / "00_00_trace.csv")
    assert nezha.run(published)["cases"] == told["cases"]


def test_a_day_without_traces_is_judged_by_its_metrics(tmp_path: Path) -> None:
    """Seventeen of the faults of OnlineBoutique have no whole trace; a day may have none at all."""
    folder = a_day(tmp_path, "pay-1-x")
    (folder / "00_00_trace.csv").unlink()
    with pytest.raises(ConfigError, match="neither `trace` nor `metric`"):
        nezha.read(folder)
    (folder / "metric").mkdir()
    rows = "\n".join(f"2030-01-01 00:{m:02}:00,pay-1-x,{m % 3}" for m in range(12))
    (folder / "metric" / "pay-1-x_metric.csv").write_text(f"Time,PodName,Cpu\n{rows}\n")
    (folder / "metric" / "empty_metric.csv").write_text("")
    recording = nezha.read(folder)
    assert (recording.spans.height, len(recording.samples)) == (0, 12)
    assert [case["truth"] for case in nezha.run(folder)["cases"]] == ["pay"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("2030-01-01-fault_list.json", "{", "fault_list.json: not a list of faults"),
        ("2030-01-01-fault_list.json", '{"00": [{"inject_time": "x"}]}', "inject_pod"),
        ("2030-01-01-fault_list.json", '{"00": [{"inject_time": "x", "inject_pod": "a-1-b", '
         '"inject_type": "y"}]}', "YYYY-MM-DD"),
        ("metric/pod.csv", "Time,PodName,Cpu\nyesterday,a-1-b,1\n", "pod.csv: column Time"),
        ("log/00_01_log.csv", "Time,Log\n1,x\n", "column TraceID is missing"),
    ],
)  # fmt: skip
def test_an_odd_file_is_named(
    name: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 2 and says which file is not as it should be, without a traceback."""
    folder = a_day(tmp_path, "pay-1-x")
    (folder / "metric").mkdir()
    (folder / name).write_text(text)
    assert command.main(["--set", "nezha-tt", "--path", str(folder)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert words in told
    assert "Traceback" not in told


def test_a_folder_without_any_issue_is_refused(tmp_path: Path) -> None:
    """Nought of nought cases right would look like a run."""
    (tmp_path / "scenario").mkdir()
    (tmp_path / "scenario" / "graph.csv").write_text("x,a\na,0\n")
    with pytest.raises(ConfigError, match="no PetShop issue"):
        petshop.run(tmp_path)


def metrics(folder: Path, **files: str) -> Path:
    """Write metric files into a day; `_` of a name stands for `-`."""
    (folder / "metric").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "metric" / f"{name.replace('_', '-')}_metric.csv").write_text(text)
    return folder


def test_a_day_with_holes_is_played_all_the_same(tmp_path: Path) -> None:
    """Files that are empty, cut short, hidden or without a pod's name stop nothing."""
    folder = a_day(tmp_path, "pay-1-x")
    whole = nezha.run(folder)["cases"]
    (folder / "00_01_trace.csv").write_text("")
    row = "f,9,root,web-1-x,/buy,1893456000000000000,1893456000030000000,30000"
    table = folder / "00_00_trace.csv"
    table.write_text(table.read_text() + row.rpartition(",")[0])
    (folder / "log" / "00_01_log.csv").write_text("")
    (folder / "log" / "._00_00_log.csv").write_bytes(b"\x00\x05\x16\x07\xff")
    metrics(folder, a_1_x="Time,PodName,Cpu\n", b_1_x="", c_1_x="Time,PodName,Cpu\n,c-1-x,1\n")
    assert nezha.run(folder)["cases"] == whole


def test_metrics_tell_their_service_and_time_however_they_are_spelt(tmp_path: Path) -> None:
    """By the pod's column or the file's name; by a text or a number; more columns are more."""
    folder = a_day(tmp_path, "pay-1-x")
    metrics(
        folder,
        a_1_x="TimeStamp,PodName,Cpu,New\n1893456000,a-1-x,1,5\n",
        b_1_x="Time,PodName,Cpu\n2030-01-01 08:00:00 +0800 CST,,2\n",
    )
    names = "Time,PodName,Cpu\n2030-01-01 00:00:00,{}-1-x,3\n"
    metrics(folder, front_end_1_x=names.format("front_end"))
    table = "time,timestamp,a_b,front_end_a,x_y_z\n2030-01-01 00:00:00,1893456000,1,2,3\n"
    (folder / "metric" / "source_50.csv").write_text(table)
    found = {(s.series.module, s.series.peer, s.series.name, s.at_us) for s in
             nezha.read(folder).samples}  # fmt: skip
    assert found == {
        ("a", "", "Cpu", START_US),
        ("a", "", "New", START_US),
        ("b", "", "Cpu", START_US),
        ("front_end", "", "Cpu", START_US),
        ("a", "b", "latency p50", START_US),
        ("front_end", "a", "latency p50", START_US),
    }


def test_a_label_may_name_a_service_and_repeat_itself(tmp_path: Path) -> None:
    """A pod's name without its last two parts, or the service; two labels alike are two cases."""
    folder = a_day(tmp_path, "pay")
    file = folder / "2030-01-01-fault_list.json"
    labels = json.loads(file.read_text())["00"]
    file.write_text(json.dumps(labels * 2))
    assert [case["truth"] for case in nezha.run(folder)["cases"]] == ["pay", "pay"]


ISSUE = "x,a,b\nm,latency,latency\ns,Average,Average\nunix_timestamp,,\n"
TARGET = {
    "target": {"node": "a", "metric": "latency", "timestamp": 900},
    "root_cause": {"node": "b"},
}


def test_a_scenario_without_a_past_and_an_issue_without_rows_are_cases(tmp_path: Path) -> None:
    """Two scenarios of the source lack their normal period; nothing of it ends the others."""
    for number, rows in enumerate(["900,9,9\n600,1,1\n1200,9\n", ""]):
        folder = tmp_path / "traffic" / "test" / f"issue_{number}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(ISSUE + rows if rows else "")
        (folder / "target.json").write_text(json.dumps(TARGET))
    (tmp_path / "traffic" / "graph.csv").write_text("x,a,b\na,0,1\nb,0,0\n")
    first, second = petshop.run(tmp_path)["cases"]
    assert first["detected_at_s"] is not None
    assert set(first["ranked"]) <= {"a", "b"}
    assert (second["detected_at_s"], second["ranked"]) == (None, [])
