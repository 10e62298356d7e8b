"""The ranking: symptoms point to what is needed, own trouble stays, and unknown is an answer."""

from streams.core.causes.evidence import (
    LOG_NEW,
    METRIC_SHIFT,
    MISSING_EDGE,
    TRACE_SLOW,
    UNKNOWN,
    Evidence,
)
from streams.core.causes.rank import rank
from streams.core.incidents.topology import ModuleInfo, Topology

CALLS = Topology(
    {
        "frontend": ModuleInfo(depends_on=("cart", "checkout")),
        "checkout": ModuleInfo(depends_on=("cart",)),
    }
)


def names(evidence: list[Evidence]) -> list[str]:
    return [cause.module or cause.kind for cause in rank((), evidence, CALLS)]


def test_nothing_found_is_unknown() -> None:
    """Without evidence the only answer is UNKNOWN, with certainty."""
    (only,) = rank((), [], CALLS)
    assert (only.kind, only.rank, only.probability) == (UNKNOWN, 1, 1.0)


def test_weak_evidence_ranks_behind_unknown() -> None:
    """A shift that often happens by chance does not displace UNKNOWN."""
    assert names([Evidence(TRACE_SLOW, "cart", score=1.0)]) == [UNKNOWN, "cart"]


def test_a_symptom_gives_way_to_the_trouble_of_what_it_needs() -> None:
    """A slow caller of a slow callee is no candidate above it, even if it is slower."""
    evidence = [
        Evidence(TRACE_SLOW, "frontend", score=14.0),
        Evidence(TRACE_SLOW, "checkout", score=13.0),
        Evidence(TRACE_SLOW, "cart", score=12.0),
    ]
    assert names(evidence)[0] == "cart"


def test_own_resources_are_never_explained_away() -> None:
    """A caller whose own CPU is far out stays first, though a callee is slow as well."""
    evidence = [
        Evidence(METRIC_SHIFT, "frontend", name="CpuUsage", score=150.0),
        Evidence(TRACE_SLOW, "frontend", score=6.0),
        Evidence(TRACE_SLOW, "cart", score=3.5),
    ]
    assert names(evidence)[0] == "frontend"


def test_trouble_that_began_later_explains_nothing() -> None:
    """What a caller needs is no cause when it went wrong long after the caller did."""
    hour_us = 3_600_000_000
    evidence = [
        Evidence(LOG_NEW, "frontend", score=8.0, since_us=0),
        Evidence(LOG_NEW, "cart", score=6.0, since_us=hour_us),
    ]
    assert names(evidence)[0] == "frontend"


def test_evidence_from_broken_traces_counts_less() -> None:
    """Of two equal findings the one with the smaller weight ranks behind."""
    evidence = [
        Evidence(MISSING_EDGE, "cart", score=8.0, weight=0.5),
        Evidence(MISSING_EDGE, "email", score=8.0),
    ]
    assert [n for n in names(evidence) if n != UNKNOWN] == ["email", "cart"]


def test_a_cause_tells_its_evidence_the_strongest_first() -> None:
    """The cause is named after its strongest evidence and lists sentences in that order."""
    evidence = [
        Evidence(TRACE_SLOW, "cart", name="/x", score=4.0, sentence="slow"),
        Evidence(LOG_NEW, "cart", name="boom", score=9.0, sentence="new log"),
    ]
    first = rank((), evidence, CALLS)[0]
    assert (first.kind, first.name, first.evidence) == (LOG_NEW, "boom", ("new log", "slow"))


def test_what_a_place_is_called_decides_nothing() -> None:
    """Of two as strong as each other the one that began first comes first, whatever their names."""
    for first, second in (("a", "b"), ("b", "a")):
        evidence = [
            Evidence(TRACE_SLOW, second, score=12.0, since_us=20),
            Evidence(TRACE_SLOW, first, score=12.0, since_us=10),
        ]
        assert names(evidence)[:2] == [first, second]
