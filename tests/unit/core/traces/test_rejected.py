"""What was rejected is remembered by trace, up to a bound."""

from streams.core.traces.rejected import RejectedTraces

ONE, TWO, THREE = (bytes([n]) * 16 for n in (1, 2, 3))


def test_a_trace_has_the_modules_of_its_rejected_events() -> None:
    """Two modules of one trace, each once; an unknown trace has none."""
    rejected = RejectedTraces(10)
    assert rejected.add([(ONE, "BETA"), (ONE, "GAMMA"), (ONE, "BETA")]) == 0
    assert rejected.modules(ONE) == ("BETA", "GAMMA")
    assert rejected.modules(TWO) == ()


def test_beyond_the_bound_the_oldest_trace_is_forgotten_and_counted() -> None:
    """Of three traces two are kept."""
    rejected = RejectedTraces(2)
    assert rejected.add([(ONE, "BETA"), (TWO, "BETA"), (THREE, "BETA")]) == 1
    assert (len(rejected), rejected.modules(ONE), rejected.forgotten) == (2, (), 1)


def test_a_cut_holds_what_came_since_the_last() -> None:
    """Deltas add up to the whole."""
    rejected = RejectedTraces(10)
    rejected.add([(ONE, "BETA")])
    first = list(rejected.entries(full=False))
    rejected.sealed()
    rejected.add([(ONE, "GAMMA"), (TWO, "BETA")])
    second = list(rejected.entries(full=False))
    assert first + second == rejected.entries(full=True)
    assert second == [(ONE, "GAMMA"), (TWO, "BETA")]
