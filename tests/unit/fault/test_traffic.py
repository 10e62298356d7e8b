"""One seed gives one traffic, with all that can go wrong in it."""

from collections import Counter

from tests.fault.harness import Message
from tests.fault.oracle import truth_of
from tests.fault.traffic import DAY_US, Mix, Sending, Traffic

START_US = 1_700_000_000_000_000
SECONDS = 40


def sent(seed: int, slices: int, mix: Mix | None = None) -> list[Sending]:
    traffic = Traffic(seed, START_US, 20.0, mix)
    found: list[Sending] = []
    for n in range(1, slices + 1):
        found += traffic.until(START_US + n * SECONDS * 1_000_000 // slices)
    return [*found, *traffic.rest()]


def test_the_seed_alone_decides() -> None:
    """Two runs of a seed are the same, however the time is cut; another seed is another run."""
    once = sent(7, 8)
    assert once == sent(7, 200)
    assert once != sent(8, 8)


def test_everything_happens_that_is_asked_for() -> None:
    """Losses, repeats, late and ancient events and every kind of bad record are in the traffic."""
    records = sent(7, 40)
    truth = truth_of(
        (Message(s.topic, 0, n, 0, s.key, s.value) for n, s in enumerate(records)),
        START_US - DAY_US,
    )
    accounts = truth.accounting
    assert min(accounts[name] for name in ("joined", "untraced", "late", "rejected")) > 0
    assert 0.2 < accounts["duplicate"] / accounts["joined"] < 0.5
    assert {"COMPLETE", "INCOMPLETE", "BROKEN"} == {t.status for t in truth.traces.values()}
    assert len(Counter(truth.rejected.values())) >= 7


def test_nothing_happens_that_is_not_asked_for() -> None:
    """With every share at 0 the pipeline's own events arrive, in order."""
    clean = Mix(lost=0, repeated=0, reordered=0, late=0, poisoned=0, ancient=0, skewed=0)
    records = sent(7, 40, clean)
    assert [s.due_us for s in records] == sorted(s.due_us for s in records)
    truth = truth_of(
        (Message(s.topic, 0, n, 0, s.key, s.value) for n, s in enumerate(records)),
        START_US - DAY_US,
    )
    assert truth.accounting["rejected"] == truth.accounting["late"] == 0
