"""The shipped command from outside: one run of the demonstration, judged by what it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.timeout(300)


class Run(NamedTuple):
    """One finished run."""

    code: int
    out: str
    err: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the demonstration once, on its own embedded broker."""
    folder = tmp_path_factory.mktemp("demo")
    path = folder / "report.json"
    command = [sys.executable, "-m", "streams.cli.main", "demo", "--seconds", "12", "--seed", "5"]
    repository = Path(__file__).resolve().parents[2]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPANLOOM_")}
    ran = subprocess.run(
        [*command, "--json", path, "--log-level", "ERROR"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(repository), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert path.exists(), ran.stdout + ran.stderr
    return Run(ran.returncode, ran.stdout, ran.stderr, json.loads(path.read_text("utf-8")))


def test_the_demonstration_passes(demo: Run) -> None:
    """Exit code 0, and the last line names the verdict with the number of events."""
    assert demo.code == 0, demo.out + demo.err
    last = demo.out.strip().splitlines()[-1]
    assert last.startswith(f"✓ {demo.report['produced']:,} events, all accounted for;")
    assert "no false incident" in last


def test_it_is_shown_on_a_page(demo: Run) -> None:
    """Where, is said once; without a terminal the page goes with the demonstration."""
    assert demo.out.count("on a page: http://127.0.0.1:") == 1
    assert "no page" not in demo.out
    assert "the page stays" not in demo.out


def test_nothing_went_wrong_unseen(demo: Run) -> None:
    """At level ERROR a good run says nothing on stderr."""
    assert demo.err == ""


def test_every_event_is_accounted_for(demo: Run) -> None:
    """What was produced was accepted, and each event has exactly one outcome."""
    accounts = dict(demo.report["accounting"])
    assert accounts.pop("balanced") is True
    accepted = accounts.pop("accepted")
    assert accepted == demo.report["produced"] > 0
    assert sum(accounts.values()) == accepted
    assert accounts["open"] == 0
    assert accounts["joined"] > 0


def test_the_report_is_whole(demo: Run) -> None:
    """The keys that readers of the report rely on are there, with their shapes."""
    report = demo.report
    wanted = {
        "produced", "accounting", "faults", "false_incidents", "fidelity", "spans_per_second",
    }  # fmt: skip
    assert wanted <= report.keys()
    assert isinstance(report["faults"], list)
    assert all(fault["found"] for fault in report["faults"])
    assert report["false_incidents"] == 0
    assert report["spans_per_second"] > 0


def test_fidelity_is_the_truth(demo: Run) -> None:
    """Every edge that records took is measured within a tenth of a point of what happened."""
    rows = demo.report["fidelity"]
    assert {"record:parser>validation", "record:delivery>acknowledgment"} <= {
        row["edge"] for row in rows
    }
    for row in rows:
        assert row["estimated"] == pytest.approx(row["true"], abs=0.001), row["edge"]
