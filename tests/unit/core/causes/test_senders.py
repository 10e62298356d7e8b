"""Shifts of traffic are laid on who sends it."""

from streams.core.causes.evidence import METRIC_SHIFT, Evidence
from streams.core.causes.senders import ENTRY_WEIGHT, laid_on_senders
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology

SHOP = Topology(
    {
        "frontend": ModuleInfo(depends_on=("checkout", "cart")),
        "checkout": ModuleInfo(depends_on=("email", "cart")),
    }
)
PIPELINE = Topology(
    {"BETA": ModuleInfo(depends_on=("ALPHA",))},
    (Edge("flow", "a", "b"),),
    {Place("flow", "a"): "ALPHA", Place("flow", "b"): "BETA"},
)


def fall(module: str) -> Evidence:
    return Evidence(METRIC_SHIFT, module, name="requests fell", score=12.0)


def places(evidence: list[Evidence]) -> list[tuple[str, float]]:
    return [(item.module, item.weight) for item in evidence]


def test_a_fall_is_laid_on_the_only_caller() -> None:
    """Email gets no requests: checkout, which alone calls it, sends none."""
    assert places(laid_on_senders([fall("email")], SHOP)) == [("checkout", 1.0)]


def test_several_callers_share_a_fall() -> None:
    """Either of two callers may send less: each has half of it."""
    assert places(laid_on_senders([fall("cart")], SHOP)) == [("checkout", 0.5), ("frontend", 0.5)]


def test_a_fall_that_a_sender_shares_is_the_senders_to_explain() -> None:
    """Checkout gets fewer requests too, so what it sends to email is no news."""
    laid = laid_on_senders([fall("email"), fall("checkout")], SHOP)
    assert places(laid) == [("frontend", 1.0)]


def test_at_an_entry_the_world_asks_for_less() -> None:
    """Nobody in sight sends to frontend: the fall stays there, and says little."""
    assert places(laid_on_senders([fall("frontend")], SHOP)) == [("frontend", ENTRY_WEIGHT)]


def test_in_a_pipeline_the_stage_before_sends() -> None:
    """Where flows are known, their edges say who hands over."""
    assert places(laid_on_senders([fall("BETA")], PIPELINE)) == [("ALPHA", 1.0)]


def test_laying_twice_changes_nothing() -> None:
    """What was laid on a sender stays there."""
    once = laid_on_senders([fall("email"), fall("cart"), fall("frontend")], SHOP)
    assert laid_on_senders(once, SHOP) == once


def test_other_evidence_stays_where_it_is() -> None:
    """Only traffic is laid on senders."""
    item = Evidence(METRIC_SHIFT, "email", name="CpuUsage", score=12.0)
    assert laid_on_senders([item], SHOP) == [item]
