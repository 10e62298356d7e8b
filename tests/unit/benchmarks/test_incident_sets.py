"""The sets `flap` and `load` give cases and totals in the shape that the benchmark's file has."""

from benchmarks.incidents import flap, load


def test_fifty_flips_at_one_pace() -> None:
    """A flip every two seconds, beside another fault: at most three events, and that is told."""
    found = flap.case(2, is_alone=False)
    assert (found["alerts"], found["beside"]) == (51, 1)
    assert found["names"] == ["OPENED", "UPDATED", "RESOLVED"]
    assert (found["truth"], found["incidents"]) == ("ALPHA", 2), "the other has its own"


def test_a_moment_of_load() -> None:
    """A second of it: every state arrives, and the task keeps up in what it counts."""
    chunks = load.minute(1.2, 400, 8)
    assert sum(map(len, chunks)) == round(load.RATE * 1.2)
    found = load.pure(chunks)
    assert found["alerts"] == 2_000
    assert found["largest"] == 200, "two chains of four modules"
    assert 1 <= found["opened"] <= found["incidents"], "the second may still wait for its time"
    assert load.one_incident(2_000)["alerts"] == 2_000
