"""A hurt deployment against the oracle, in short; `make fault` goes on for as long as you like.

SPANLOOM_FAULT_SEED takes another seed, as `make fault` does by itself; here it is the same always,
so that a change is judged by itself and not by what chance found beside it.
"""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from streams.runtime.crashpoints import POINTS
from tests.fault.broker import BrokerNode, NoBrokerError
from tests.fault.canary import CANARIES, program_of
from tests.fault.console_canary import CONSOLE_CANARIES, console_program_of
from tests.fault.console_kills import SCENARIO, kill_consoles
from tests.fault.harness import PROGRAM, Deployment
from tests.fault.run import Plan, Run, carry_out
from tests.fault.scenario_broker import bounce
from tests.fault.scenario_damage import KINDS, harm
from tests.fault.scenario_kills import kills, points

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(3_600)]

SEED = 20_261


def say(words: str) -> None:
    print(words, flush=True)


def plan(scenario: str, **given: Any) -> Plan:
    """Return a short plan."""
    seed = int(os.environ.get("SPANLOOM_FAULT_SEED") or SEED)
    say(f"fault: seed {seed}")
    return Plan(scenario, seed, **{"workers": 2, "records_per_second": 12.0, **given})


def ours(deployment: Deployment) -> Deployment:
    """Return the deployment with the seed contract, as the traffic needs it."""
    deployment.contract = "seed"
    return deployment


def assert_good(report: dict[str, Any]) -> None:
    """Fail unless nothing is lost, repeated or wrong, and enough was compared to say so."""
    say(str({name: value for name, value in report.items() if name != "compared"}))
    say(str(report["compared"]))
    assert (report["lost"], report["repeated"], report["wrong"]) == (0, 0, 0), report["problems"]
    assert report["compared"]["traces"] > 50
    assert report["compared"]["windows_compared"] > 20


def test_random_deaths_lose_nothing(deployment: Deployment) -> None:
    """Two workers die at random moments; all is there once, and as the oracle says."""
    report = carry_out(plan("kills", kills=3), kills, ours(deployment), None, say)
    assert_good(report)
    assert report["kills"] == 3


def test_every_named_point_is_reached_and_survived(deployment: Deployment) -> None:
    """A worker dies once at each point of the commit and of the restore."""
    report = carry_out(plan("points", kills=1), points, ours(deployment), None, say)
    assert_good(report)
    reached = {name.removeprefix("at ") for name in report["faults"] if name.startswith("at ")}
    assert reached == set(POINTS)


def test_damaged_local_state_changes_nothing(deployment: Deployment) -> None:
    """Each kind of damage to the local state, on two workers in turn, gives the same result."""

    def scenario(run: Run) -> None:
        order = run.chance.sample(KINDS, len(KINDS))
        for number, kind in enumerate(order):
            seat = run.seats[number % 2]
            run.wait_until_recovered([seat])
            harm(run, kind, seat, random.Random(f"{run.plan.seed}/{number}"))
        run.wait_until_recovered(run.seats)

    assert_good(carry_out(plan("damage"), scenario, ours(deployment), None, say))


def test_a_broker_that_dies_and_comes_back_changes_nothing(tmp_path: Path) -> None:
    """The broker is killed and started again under load; nothing is lost, nothing comes twice."""
    node = BrokerNode()
    try:
        node.start_fresh()
    except NoBrokerError as error:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise
        pytest.skip(str(error))
    try:
        deployment = Deployment(node.address, tmp_path, "fault-broker", "seed")
        scenario = lambda run: bounce(run, node, "hard")  # noqa: E731
        assert_good(carry_out(plan("broker"), scenario, deployment, node, say))
    finally:
        node.forget()


@pytest.mark.parametrize("name", CANARIES)
def test_a_planted_bug_is_found(deployment: Deployment, name: str) -> None:
    """The harness that finds nothing must not be one that cannot find anything."""
    asked = plan(
        "points" if "output" not in name or "first" in name else "kills",
        # One death can come when the forgotten segment is still empty or compacted already.
        kills=3 if name == "short_restore" else 1,
        points=("after_commit",),
        workers=1,
        records_per_second=40.0,
        program=program_of(name),
        canary=name,
        is_patient=False,
    )
    assert asked.program != PROGRAM
    scenario = points if asked.scenario == "points" else kills
    report = carry_out(asked, scenario, ours(deployment), None, say)
    say(str(report["problems"]))
    found = {kind for kind in ("lost", "repeated", "wrong") if report[kind]}
    expected = {
        "drop_output": {"lost"},
        "repeat_output": {"repeated"},
        "offsets_first": {"lost"},
        "outputs_first": {"repeated"},
    }
    assert found >= expected.get(name, set())
    assert found, "a planted bug was not found"


def console_killed(deployment: Deployment, name: str = "") -> dict[str, Any]:
    """Return the report of a kill of a console, with a planted bug or without one.

    Alerts are not asked for: they take longer to arise, and the comparison is the same for all.
    """
    program = console_program_of(name) if name else PROGRAM
    asked = plan(SCENARIO, kills=1, workers=1, program=program, canary=name)
    deployment.partitions = 1  # an idle partition costs the comparison half a second
    report = kill_consoles(asked, ours(deployment), say, told=(), is_short=True)
    say(str(report))
    return report


def test_a_death_of_the_console_leaves_its_archive_whole(deployment: Deployment) -> None:
    """What finds planted bugs finds none where there is none."""
    report = console_killed(deployment)
    assert (report["lost"], report["repeated"], report["wrong"]) == (0, 0, 0)
    assert report["rows"]["traces"] > 50
    assert report["rows"]["spans"] > report["rows"]["traces"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("skip_after_kill", {"lost"}),
        ("twice_after_kill", {"repeated"}),
        # The row that should be there is missing, and one is there that should not be.
        ("old_revision_after_kill", {"lost", "wrong"}),
    ],
)
def test_a_planted_bug_of_the_console_is_found(
    deployment: Deployment, name: str, expected: set[str]
) -> None:
    """The comparison that finds nothing must not be one that cannot find anything."""
    assert name in CONSOLE_CANARIES
    report = console_killed(deployment, name)
    traces = report["compared"]["traces"]
    assert {kind for kind in ("lost", "repeated", "wrong") if traces[kind]} == expected
