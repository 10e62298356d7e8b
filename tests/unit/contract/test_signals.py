"""Signals that a contract names: by the rule, of its modules, in dimensions with listed values."""

from typing import Any

import pytest

from streams.contract.loader import SHIPPED, load_contract
from streams.contract.signals import METRIC_NAME, signal_problems

GOOD: dict[str, Any] = {
    "modules": {"ALPHA": {}},
    "dimensions": {"tier": ["memory", "disk"]},
    "requirements": {"R": "asks"},
    "metric_names": {},
    "signals": [
        {
            "name": "pipeline.alpha.cache.counter.hits_total",
            "unit": "1",
            "dimensions": ["tier"],
            "description": "Hits.",
            "answers": "R",
        }
    ],
    "events": [
        {
            "name": "opened",
            "event_type": "LOG",
            "emitters": ["*"],
            "dimensions": ["tier"],
            "description": "It opened.",
            "answers": "R",
        }
    ],
}


def problems(**changed: Any) -> list[str]:
    """Return what is wrong with the one good signal, some of its keys changed."""
    tree = GOOD | {"signals": [GOOD["signals"][0] | changed]}
    return [text for _, text in signal_problems(tree)]


def test_a_good_contract_has_no_problem() -> None:
    """What the cases below break is right before."""
    assert list(signal_problems(GOOD)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "alpha.hits"}, "must read pipeline.<module>"),
        ({"name": "pipeline.omega.cache.gauge.hits"}, "unknown module 'omega'"),
        ({"name": "pipeline.alpha.cache.counter.hits"}, "end in _total"),
        ({"dimensions": ["teir"]}, "unknown dimension 'teir'; known: tier"),
        ({"answers": "Q"}, "unknown requirement 'Q'; known: R"),
    ],
)
def test_what_is_wrong_is_told(changed: dict[str, Any], told: str) -> None:
    """Each mistake is one problem, at the key that holds it, and names what is known."""
    found = problems(**changed)
    assert len(found) == 1
    assert told in found[0]


def test_a_name_stands_once() -> None:
    """Two signals of one name are one too many."""
    twice = GOOD | {"signals": GOOD["signals"] * 2}
    assert [loc for loc, _ in signal_problems(twice)] == [("signals", 1, "name")]


def test_series_are_bounded() -> None:
    """Dimensions that multiply beyond the bound are refused before anything is emitted."""
    many = [str(n) for n in range(101)]
    dimensions = {"a": many, "b": many}
    signal = GOOD["signals"][0] | {"dimensions": ["a", "b"]}
    tree = GOOD | {"dimensions": dimensions, "signals": [signal], "events": []}
    assert [text for _, text in signal_problems(tree)] == [
        "gives 10201 series; at most 10000: name fewer"
    ]


def test_an_old_name_leads_to_a_signal() -> None:
    """Where signals are named, an old metric name that leads to none of them is a mistake."""
    tree = GOOD | {"metric_names": {"old": "pipeline.alpha.cache.gauge.gone"}}
    assert [loc for loc, _ in signal_problems(tree)] == [("metric_names", "old")]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_contracts_name_their_signals(name: str) -> None:
    """Every module has signals and every component one; each row asked for is answered by some."""
    contract = load_contract(name)
    by_module = {signal.module for signal in contract.signals}
    assert by_module == {module.lower() for module in contract.modules}
    answered = {s.answers for s in contract.signals} | {e.answers for e in contract.events}
    assert answered == contract.requirements.keys()
    used = {d for s in contract.signals for d in s.dimensions}
    used |= {d for e in contract.events for d in e.dimensions}
    assert used == contract.dimensions.keys()
    types = {signal.type for signal in contract.signals}
    assert types == {"counter", "gauge", "histogram"}
    for signal in contract.signals:
        found = METRIC_NAME.fullmatch(signal.name)
        assert found is not None
        assert found["component"] == signal.component


def test_the_inference_contract_has_its_three_layers() -> None:
    """Data quality, model health and inference performance, several signals each."""
    layers = [signal.layer for signal in load_contract("inference").signals]
    assert set(layers) == {"data_quality", "model_health", "inference_performance"}
    assert min(layers.count(layer) for layer in set(layers)) >= 5
