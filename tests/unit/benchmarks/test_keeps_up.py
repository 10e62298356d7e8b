"""The case `keeps-up` finds what an archive lacks, has twice or has wrong, and what never came."""

from benchmarks.cases.keeps_up import CONTRACT, Pace, faults
from benchmarks.decode import STAGES
from streams.contract.loader import load_contract
from tests.fault.comparing import Difference

WHOLE = {
    "traces": Difference(0, 0, 0, 10),
    "spans": Difference(0, 0, 0, 80),
    "events": Difference(0, 0, 0, 20),
    "fidelity": Difference(0, 0, 0, 7),
}


def test_an_archive_that_equals_its_topics_is_right() -> None:
    """Other kinds have as many rows as they have."""
    assert faults(WHOLE, 10) == []


def test_what_differs_is_told() -> None:
    """Each kind that is unlike, and topics that do not hold what was sent."""
    assert faults(WHOLE | {"spans": Difference(3, 2, 1, 80)}, 10) == [
        "spans: 3 lost, 2 repeated, 1 wrong of 80 rows"
    ]
    assert faults(WHOLE, 11) == [
        "10 traces in the topics, not 11",
        "80 spans in the topics, not 88",
        "20 events in the topics, not 22",
    ]


def test_the_contract_is_that_of_the_telemetry() -> None:
    """Its stages are those that are made, and nothing is personal: the archive needs no key."""
    contract = load_contract(str(CONTRACT))
    stages = contract.flows["record"].stages
    assert [(stage.module, stage.name) for stage in stages] == [(m, n) for m, _, n in STAGES]
    assert not contract.field_classes


def test_a_pace_is_of_time_and_of_cpu() -> None:
    """By the wall and by what it cost."""
    pace = Pace(entries=600, seconds=3.0, cpu_s=2.0, rss_max_bytes=1)
    assert (pace.per_s, pace.per_cpu_s) == (200.0, 300.0)
