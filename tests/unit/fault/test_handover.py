"""Silences are read around changes, apart for partitions that moved and that stayed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.fault.arrivals import Arrivals, Partition, quantile
from tests.fault.fleet import Life
from tests.fault.handover import Change, handovers


def partition(*arrived: float) -> Partition:
    return Partition(list(arrived), list(arrived))


def test_the_longest_silence_of_a_stretch_is_found() -> None:
    """Silences that reach into the stretch count in full, those outside do not."""
    quiet = partition(0, 5, 6, 9, 20, 21)
    assert quiet.silence(6.5, 8) == 3
    assert quiet.silence(6.5, 10) == 11
    assert quiet.silence(5.5, 5.8) == 1
    assert quiet.silence(20.5, 30) == 1


def test_the_first_output_of_a_later_cut_is_found() -> None:
    """What an earlier holder cut does not count, even when it arrives later."""
    late = Partition([10.0, 11.0, 12.0], [5.0, 5.0, 8.0])
    assert late.first_after(5.0) == 12.0
    assert late.first_after(4.0) == 10.0
    assert late.first_after(8.0) is None


def test_moved_and_staying_partitions_are_told_apart() -> None:
    """A change is measured when no other one follows soon; its silence is put where it belongs."""
    arrivals = SimpleNamespace(
        partitions={
            0: partition(*range(100)),
            1: partition(*range(50), *range(57, 100)),
        }
    )
    taker = SimpleNamespace(takeovers=lambda: [(1, 56.5), (1, 150.0)])
    changes = [Change(49.5, "kill", "a"), Change(80.0, "join", "c"), Change(81.0, "term", "c")]
    found: dict[str, Any] = handovers(changes, cast(list[Life], [taker]), cast(Arrivals, arrivals))
    assert found == {
        "kill moved": {"count": 1, "p50": 8, "p95": 8, "max": 8},
        "kill stayed": {"count": 1, "p50": 1, "p95": 1, "max": 1},
        "term stayed": {"count": 2, "p50": 1, "p95": 1, "max": 1},
    }


def test_a_recovery_is_counted_from_the_start_to_the_first_output_of_its_own(
    tmp_path: Path,
) -> None:
    """Output after the end of a life is somebody else's."""
    worker = SimpleNamespace(
        is_alive=True,
        events=lambda name: [
            {"event": name, "task": "join-0", "timestamp": "1970-01-01T00:00:14Z"},
            {"event": name, "task": "fragments-1", "timestamp": "1970-01-01T00:00:12Z"},
        ],
    )
    arrivals = cast(Arrivals, SimpleNamespace(partitions={0: partition(13.0, 16.5, 17.0)}))
    life = Life("w0", cast(Any, worker), counted_from_unix=10.0)
    assert life.recovery_seconds(arrivals) == 6.5
    killed = Life("w0", cast(Any, worker), counted_from_unix=10.0, ended_unix=15.0)
    assert killed.recovery_seconds(arrivals) is None


def test_quantiles_are_values_that_were_there() -> None:
    """The 95th of 20 values is the largest but none; of none there is none."""
    assert quantile([], 0.5) is None
    assert quantile([3.0], 0.95) == 3.0
    assert quantile([float(n) for n in range(1, 101)], 0.95) == 96.0
