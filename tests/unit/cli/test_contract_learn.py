"""`contract learn` writes a contract that loads, or nothing."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from streams.cli.contract_learn import learn
from streams.codec.eventlog import read_events, write_events
from streams.codec.nezha import nezha_events
from streams.contract.loader import load_contract

HEADER = (
    "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
)
app = typer.Typer()
app.command()(learn)


def recording(folder: Path) -> Path:
    """Write thirty traces of two services, one row of them twice."""
    rows = []
    for trace in range(30):
        rows.append(f"{trace:032x},a1,root,gate-1-2,in,{trace}000,{trace}900,900\n")
        rows.append(f"{trace:032x},ffffffffffffffff,a1,shop-1-2,sell,{trace}100,{trace}200,100\n")
    folder.mkdir()
    (folder / "08_43_trace.csv").write_text(HEADER + "".join(rows) + rows[0])
    return folder


def test_what_is_learned_loads_as_a_contract(tmp_path: Path) -> None:
    """The file holds the modules, unowned, and the rules with their support."""
    out = tmp_path / "shop.yaml"
    run = CliRunner().invoke(app, ["nezha", str(recording(tmp_path / "day")), "--out", str(out)])
    assert run.exit_code == 0, run.output
    contract = load_contract(out)
    assert {name: module.owner for name, module in contract.modules.items()} == {
        "gate": "",
        "shop": "",
    }
    assert contract.operations is not None
    (parent,) = contract.operations.parents
    assert (parent.name, parent.support, parent.children[0].name) == ("in", 30, "sell")


def test_both_layouts_teach_the_same(tmp_path: Path) -> None:
    """A recording and its events in our own layout give the same rules; services share a topic."""
    day = recording(tmp_path / "day")
    log = tmp_path / "day.jsonl.gz"
    assert write_events(log, nezha_events(day)) == 61
    assert len(list(read_events(log))) == 61
    for kind, path in (("nezha", day), ("events", log)):
        out = tmp_path / f"{kind}.yaml"
        assert CliRunner().invoke(app, [kind, str(path), "--out", str(out)]).exit_code == 0
    nezha, events = (load_contract(tmp_path / f"{kind}.yaml") for kind in ("nezha", "events"))
    assert nezha.operations == events.operations
    assert nezha.topics() == ("telemetry.other.v1",)
    assert events.topics() == ("telemetry.gate.v1", "telemetry.shop.v1")


def test_a_contract_is_never_overwritten_unasked(tmp_path: Path) -> None:
    """The file that is there stays as it is, and the command says what to do."""
    day, out = recording(tmp_path / "day"), tmp_path / "shop.yaml"
    out.write_text("mine")
    run = CliRunner().invoke(app, ["nezha", str(day), "--out", str(out)])
    assert (run.exit_code, out.read_text()) == (2, "mine")
    assert "--force" in run.output
    assert CliRunner().invoke(app, ["nezha", str(day), "--out", str(out), "--force"]).exit_code == 0


def test_a_recording_that_cannot_be_read_writes_nothing(tmp_path: Path) -> None:
    """An error ends with 2 and leaves no file, not even a draft."""
    (tmp_path / "empty.jsonl").write_text("")
    for kind, path in (("nezha", "absent"), ("events", "empty.jsonl")):
        out = tmp_path / "out.yaml"
        run = CliRunner().invoke(app, [kind, str(tmp_path / path), "--out", str(out)])
        assert run.exit_code == 2
        assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.jsonl"]
