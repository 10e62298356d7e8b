"""Evidence of an incident fades when it is no longer seen, and never grows by itself."""

from hypothesis import given
from hypothesis import strategies as st

from streams.core.causes.casefile import CaseFile
from streams.core.causes.evidence import LOG_NEW, METRIC_SHIFT, Evidence
from streams.core.causes.parameters import PARAMETERS

HALF_US = PARAMETERS.fade_halflife_us


def seen(bits: float, since_us: int = 0) -> Evidence:
    return Evidence(LOG_NEW, "cart", name="boom", score=9.0, bits=bits, since_us=since_us)


def test_what_is_gone_fades_by_half_in_each_half_life() -> None:
    """One half-life after it was last seen, half of the bits are left."""
    case = CaseFile(PARAMETERS)
    case.add([seen(12.0)], 0)
    assert case.evidence(0)[0].bits == 12.0
    assert case.evidence(HALF_US)[0].bits == 6.0


def test_what_is_seen_again_counts_in_full_and_keeps_its_onset() -> None:
    """The later sight renews the bits, not the beginning."""
    case = CaseFile(PARAMETERS)
    case.add([seen(12.0, since_us=5)], 10)
    case.add([seen(11.0, since_us=HALF_US)], HALF_US)
    (item,) = case.evidence(HALF_US)
    assert (item.bits, item.since_us) == (11.0, 5)


def test_old_evidence_is_forgotten() -> None:
    """Beyond the incident's window nothing is kept."""
    case = CaseFile(PARAMETERS)
    case.add([seen(12.0)], 0)
    assert case.evidence(PARAMETERS.incident_window_us) == []
    case.add([], PARAMETERS.incident_window_us)
    assert case.seen == {}


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.1, 30)), min_size=1, max_size=10))
def test_the_file_says_no_more_than_was_ever_seen(rows: list[tuple[int, float]]) -> None:
    """At any time the bits lie between the fresh ones and the largest ever added."""
    case = CaseFile(PARAMETERS)
    for number, (at_us, bits) in enumerate(sorted(rows)):
        case.add([seen(bits)], at_us)
        (item,) = case.evidence(at_us)
        assert bits <= item.bits <= max(b for _, b in sorted(rows)[: number + 1])


def test_each_component_keeps_its_own() -> None:
    """Two of one module that measure under one name do not overwrite each other."""
    found = CaseFile(PARAMETERS)
    for component in ("lookup", "score"):
        found.add([Evidence(METRIC_SHIFT, "a", component, "cpu", bits=9.0)], 10)
    assert {item.component for item in found.evidence(10)} == {"lookup", "score"}
