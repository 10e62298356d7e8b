"""A silence means the alerts that match all its fields, within its time, and no others."""

import pytest

from streams.core.incidents.silences import Silence, matcher_fault, silenced_by
from tests.unit.core.incidents.alerts import alert

BURN = alert("fidelity_burn", "transfer_beta_gamma>rendering") | {"labels": {"cluster": "eu-1"}}


def silence(**matcher: str) -> Silence:
    return Silence("s", {k.replace("__", "."): v for k, v in matcher.items()}, 10, 20)


@pytest.mark.parametrize(
    ("matcher", "is_meant"),
    [
        ({"module": "GAMMA"}, True),
        ({"module": "GAM*"}, True),
        ({"module": "gamma"}, False),
        ({"module": "GAMMA", "kind": "error_spans"}, False),
        ({"owner": "output-*"}, True),
        ({"owner": "somebody"}, False),
        ({"labels__cluster": "eu-?"}, True),
        ({"labels__cluster": "us-*"}, False),
        ({"labels__pod": "*"}, False),
        ({"rule_id": "?*"}, False),
        ({"incident_id": "x1"}, True),
        ({"incident_id": "x2"}, False),
    ],
)
def test_all_fields_must_match(matcher: dict[str, str], is_meant: bool) -> None:
    """Patterns know * and ?; what an alert does not have matches nothing, not even *."""
    assert silence(**matcher).matches(BURN, "output-team", ("x0", "x1")) is is_meant


def test_a_bracket_is_a_bracket() -> None:
    """A pattern has no classes: names of modules may hold brackets."""
    odd = BURN | {"module": "a[1]"}
    assert silence(module="a[1]").matches(odd, "")
    assert not silence(module="a[1]").matches(BURN | {"module": "a1"}, "")


def test_it_holds_from_its_beginning_to_its_end() -> None:
    """The beginning is within, the end is not."""
    assert [silence(module="A").holds(t) for t in (9, 10, 19, 20)] == [False, True, True, False]


def test_an_empty_matcher_means_nothing() -> None:
    """A silence without fields would hide everything: it hides nothing, and is refused."""
    assert not silence().matches(BURN, "")
    assert matcher_fault({}) == "matcher must name at least one field"


@pytest.mark.parametrize(
    ("matcher", "word"),
    [
        ("module=A", "at least one"),
        ({"modul": "A"}, "no field 'modul'"),
        ({"labels.": "A"}, "no field 'labels.'"),
        ({"module": 1}, "matcher.module"),
        ({"module": ""}, "matcher.module"),
        ({1: "A"}, "no field 1"),
    ],
)
def test_a_wrong_matcher_is_named(matcher: object, word: str) -> None:
    """The fault says what to change."""
    assert word in matcher_fault(matcher)


def test_the_first_silence_that_means_an_alert_is_named() -> None:
    """Several may; one is told."""
    found = silenced_by(
        [silence(module="BETA"), Silence("t", {"kind": "*burn"}, 0, 9)], BURN, "", ()
    )
    assert found == "t"
    assert silenced_by([], BURN, "", ()) == ""
