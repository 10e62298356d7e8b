"""What is personal is treated the same each time, once, and leaves nothing of itself."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.schemas import default_schemas
from streams.core.privacy.pseudonyms import ERASED, FORM, Key, Pseudonyms, is_pseudonym
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import (
    PERSONAL_FIELDS,
    STRUCTURE,
    Treatment,
    class_fault,
    rules_of,
    treatment_fault,
    treatment_of,
)

OLD, NEW = Key("k1", b"o" * 32), Key("k2", b"n" * 32)
PSEUDONYMS = Pseudonyms([NEW, OLD])
TEXTS = st.text(min_size=1, max_size=60)
PEOPLE = st.text("abcdefghijklmnopqrstuvwxyzäöü.@", min_size=4, max_size=40)
TREATMENTS = st.sampled_from(
    [treatment_of(text) for text in ("pseudonym", "drop", "generalise", "truncate:3")]
)


@given(TEXTS)
def test_a_pseudonym(text: str) -> None:
    """Has its form, is the same each time, is no one else's, and is not made one of again."""
    found = PSEUDONYMS.of(text)
    assert found == Pseudonyms([NEW, OLD]).of(text)
    if not is_pseudonym(text):
        assert FORM.fullmatch(found)
        assert found.startswith("~k2:")
        assert found != PSEUDONYMS.of(text + "x")
    assert PSEUDONYMS.of(found) == found
    assert Pseudonyms([OLD]).of(found) == found  # nor under another key
    assert PSEUDONYMS.of(ERASED) == ERASED


@given(TEXTS)
def test_all_keys_are_searched_by(text: str) -> None:
    """What an older key made is found after a rotation."""
    found = PSEUDONYMS.all_of(text)
    assert found[0] == PSEUDONYMS.of(text)
    assert Pseudonyms([OLD]).of(text) in found


@given(TREATMENTS, TEXTS)
def test_a_treatment_is_idempotent(treatment: Treatment, text: str) -> None:
    """What was treated by an edge is not changed by an archive."""
    found = treatment.of(text, PSEUDONYMS)
    assert treatment.of(found, PSEUDONYMS) == found
    assert found in treatment.all_of(text, PSEUDONYMS)
    assert treatment.of("", PSEUDONYMS) == ""


@given(TREATMENTS, PEOPLE.filter(lambda text: text.partition("@")[0] and not text.endswith("~")))
def test_nothing_of_a_value_is_left(treatment: Treatment, text: str) -> None:
    """The plain value is in nothing that is kept."""
    assert text not in treatment.of(text, PSEUDONYMS)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("192.0.2.77", "~192.0.2.0/24"),
        ("2001:db8:1:2::7", "~2001:db8:1::/48"),
        ("alice@example.org", "~@example.org"),
        ("1987-04-01", "~1987"),
        ("52000", "~5 digits"),
        ("-3.5", "~1 digits"),
        ("anything", "~"),
    ],
)
def test_what_a_value_is_one_of(text: str, kept: str) -> None:
    """A network, a domain, a year, an order of magnitude; of anything else nothing."""
    assert Treatment("generalise").of(text, PSEUDONYMS) == kept


def event(**fields: Any) -> dict[str, Any]:
    return dict.fromkeys(("actor", "record_id", "batch_id", "correlation_id"), "") | {
        "value": 1.0, "name": "n", "dimensions": {}, **fields
    }  # fmt: skip


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), TEXTS), TEXTS)
def test_an_event(dimensions: dict[str, str], actor: str) -> None:
    """Fields and dimensions by their class, in their order, and nothing else."""
    rules = rules_of(
        {"actor": "PII", "value": "SENSITIVE", "dimensions.a": "PII", "dimensions.b": "SENSITIVE",
         "dimensions.c": "PUBLIC"},
        {},
    )  # fmt: skip
    privacy = Privacy(rules, PSEUDONYMS)
    came = event(actor=actor, dimensions=dimensions)
    found = privacy.event(came)
    assert list(found) == list(came)
    assert found["actor"] == PSEUDONYMS.of(actor)
    assert math.isnan(found["value"])
    assert list(found["dimensions"]) == [key for key in dimensions if key != "b"]
    for key in {"c", "d"} & dimensions.keys():
        assert found["dimensions"][key] == dimensions[key]
    again = privacy.event(found)
    assert again | {"value": 0} == found | {"value": 0}


def test_a_value_that_is_personal_is_in_no_sum_of_its_point() -> None:
    """Sum, least and most of a histogram of one value are that value; how many it had stays."""
    said = {"point.sum": "7.5", "point.min": "7.5", "point.max": "7.5", "point.quantile.0.5": "7.5"}
    privacy = Privacy(rules_of({"value": "SENSITIVE"}, {}), PSEUDONYMS)
    kept = privacy.event(event(dimensions=said | {"point.count": "1"}))
    assert kept["dimensions"] == {"point.count": "1"}
    without = Privacy(rules_of({"actor": "PII"}, {}), PSEUDONYMS)
    assert without.dimensions(said) == said


@given(PEOPLE, PEOPLE)
def test_words_repeat_nothing(person: str, other: str) -> None:
    """An alert's words lose what its labels lost, and what they say of a dimension."""
    privacy = Privacy(rules_of({"dimensions.user": "PII"}, {}), PSEUDONYMS)
    person, other = f"user-{person}", f"user-{other}"
    alert = {
        "labels": {"user": person, "unit": "s"},
        "explanation": f"x of {person} is high, as was x{{user={other}, unit=s}} (rule r).",
        "alerts": [{"explanation": f"BETA: x{{user={other}}}"}],
    }
    found = privacy.told(alert)
    assert person not in repr(found)
    assert other not in repr(found)
    assert found["labels"] == {"user": PSEUDONYMS.of(person), "unit": "s"}
    assert privacy.told(found) == found


def test_fields_of_an_event_are_known() -> None:
    """Each field is one that may be personal, one that may not, or the dimensions."""
    fields = [f["name"] for f in default_schemas().current("telemetry_event")["fields"]]
    assert sorted(fields) == sorted([*PERSONAL_FIELDS, *STRUCTURE, "dimensions"])


@pytest.mark.parametrize(
    ("name", "class_", "fault"),
    [
        ("actor", "PII", ""),
        ("dimensions.a.b", "SENSITIVE", ""),
        ("trace_id", "PUBLIC", ""),
        ("trace_id", "PII", "cannot be PII"),
        ("actr", "PII", "no field 'actr'"),
        ("dimensions.", "PII", "no field"),
    ],
)
def test_a_class_of_a_field(name: str, class_: str, fault: str) -> None:
    """Only of a field that can be personal."""
    found = class_fault(name, class_)
    assert fault in found
    assert bool(fault) == bool(found)


def test_a_treatment_of_a_field() -> None:
    """Only of a personal one, and of a number only dropping."""
    classes = {"actor": "PII", "value": "PII", "dimensions.x": "PUBLIC"}
    assert treatment_fault("actor", "truncate:2", classes) == ""
    assert treatment_fault("value", "drop", classes) == ""
    assert "number" in treatment_fault("value", "pseudonym", classes)
    assert "not personal" in treatment_fault("dimensions.x", "drop", classes)
    assert rules_of({"value": "PII", "actor": "SENSITIVE"}, {"actor": "pseudonym"}).fields == {
        "value": Treatment("drop"), "actor": Treatment("pseudonym")
    }  # fmt: skip
