"""Which topics of OTLP a worker reads, what they hold, and which modules its services are."""

import pytest

from streams.codec.otlp.services import Place
from streams.contract.loader import parse_contract
from streams.errors import ConfigError
from streams.runtime.build import load_pipeline, otlp_topics, services_of
from streams.settings import load_settings

CONTRACT = """
version: "1"
name: shop
modules:
  SHOP: {}
  MAIL: {}
services:
  checkout: {module: SHOP, component: cart}
"""


def test_a_name_or_a_kind_says_what_a_topic_holds() -> None:
    """As the exporter names them, or with the kind in front."""
    assert otlp_topics("otlp_spans, otlp_logs,otlp_metrics,metrics=team.raw,traces.v1,") == {
        "otlp_spans": "spans",
        "otlp_logs": "logs",
        "otlp_metrics": "metrics",
        "team.raw": "metrics",
        "traces.v1": "spans",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raw", "'raw' does not say what it holds"),
        ("spans_and_logs", "does not say what it holds"),
        ("profiles=x", "does not say what it holds"),
        ("spans=a b", "with the name of a topic"),
        ("otlp_spans,logs=otlp_spans", "otlp_spans is there twice"),
    ],
)
def test_what_says_nothing_is_refused_with_the_fix(text: str, told: str) -> None:
    """The setting and its variable are named."""
    with pytest.raises(ConfigError, match=told) as caught:
        otlp_topics(text)
    assert str(caught.value).startswith("otlp_topics (SPANLOOM_OTLP_TOPICS): ")


def test_they_are_read_beside_our_own_and_hold_no_events_of_ours() -> None:
    """The console reads them as what they hold, but for spans: it has these with their traces."""
    pipeline = load_pipeline(load_settings(otlp_topics="otlp_spans,otlp_metrics"))
    assert pipeline.otlp_events == {"otlp_metrics": "metrics"}
    assert pipeline.telemetry == (
        "telemetry.other.v1",
        "otlp_spans",
        "otlp_metrics",
        "spanloom.links.v1",
    )
    assert pipeline.silent == (3,)
    assert pipeline.otlp_kinds == {1: "spans", 2: "metrics"}
    assert pipeline.events == ("telemetry.other.v1",)


@pytest.mark.parametrize(
    "given",
    [
        {"otlp_topics": "otlp_spans", "input_topics": ("mine",)},
        {"otlp_topics": "spans=telemetry.other.v1"},
        {"otlp_topics": "spans=traces.assembled.v1"},
    ],
)
def test_what_excludes_each_other_is_refused(given: dict[str, object]) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=r"otlp_topics \(SPANLOOM_OTLP_TOPICS\)"):
        load_pipeline(load_settings(**given))


def test_services_are_those_of_the_contract() -> None:
    """Listed ones, and modules by their names."""
    services = services_of(parse_contract(CONTRACT))
    assert services.place("checkout") == Place("SHOP", "cart")
    assert services.place("mail") == Place("MAIL", "")
    assert services.place("else") == Place("else", "")
    assert services_of(None).place("") == Place("unknown_service", "")
