"""The registry in files: fixed ids, whole schemas, one meaning per id."""

import pytest

from streams.codec.schemas import SchemaSet, default_schemas, load_schema, without_logical_types
from streams.errors import ConfigError

IDS = {
    "telemetry_event": 1,
    "message_header": 2,
    "assembled_trace": 3,
    "trace_fragment": 10,
    "fidelity_partial": 5,
    "fidelity_stats": 6,
    "cause_evidence": 23,
    "alert": 11,
    "incident_event": 25,
    "rejected_event": 9,
    "telemetry_batch": 20,
    "rekeyed_batch": 24,
    "signal_partial": 12,
    "noise_ledger": 21,
}


def test_ids_never_change() -> None:
    """Messages in the topics carry these ids: a change here would make them unreadable."""
    schemas = default_schemas()
    assert {name: schemas.id_of(name) for name in schemas} == IDS
    assert all(schemas.name_of(i) == name for name, i in IDS.items())
    assert 1 in schemas
    assert schemas.name_of(4) == "trace_fragment", "version 1 is still read"
    assert schemas.name_of(7) == "alert", "version 1 is still read"
    assert 99 not in schemas


def test_a_reference_to_another_file_is_written_out() -> None:
    """The trace's schema holds that of its spans, so that any Avro reader can take it alone."""
    spans = load_schema("assembled_trace")["fields"][-1]
    assert spans["name"] == "spans"
    assert spans["type"]["items"] == load_schema("telemetry_event")


def test_logical_types_are_reduced_to_the_wire() -> None:
    """timestamp-micros is a long, decimal keeps its bytes, all else stays."""
    assert without_logical_types({"type": "long", "logicalType": "timestamp-micros"}) == "long"
    fixed = {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 5}
    assert without_logical_types(["null", fixed]) == [
        "null",
        {"type": "fixed", "name": "D", "size": 4},
    ]


def test_one_id_has_one_meaning() -> None:
    """Registering the same again changes nothing; another schema under the id is refused."""
    schemas = SchemaSet()
    schemas.register(1, load_schema("telemetry_event"))
    with pytest.raises(ConfigError, match="id of its own"):
        schemas.register(1, load_schema("alert"))
    with pytest.raises(ConfigError, match="id of its own"):
        schemas.register(7, load_schema("alert"), "telemetry_event")


@pytest.mark.parametrize(
    ("schema_id", "schema", "name", "says"),
    [
        (2**32, {"type": "record", "name": "R", "fields": []}, "alert", "4 bytes"),
        (50, {"type": "record", "name": "R", "fields": []}, "unheard_of", "unheard_of"),
        (
            50,
            {"type": "record", "name": "R", "fields": [{"name": "a", "type": "nope"}]},
            "alert",
            "cannot be parsed",
        ),
        (50, {"type": "recrod", "name": "R"}, "alert", "cannot be parsed"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_the_id(
    schema_id: int, schema: dict[str, object], name: str, says: str
) -> None:
    """The message names the id and what is wrong with it."""
    with pytest.raises(ConfigError, match=str(schema_id)) as caught:
        SchemaSet().register(schema_id, schema, name)
    assert says in str(caught.value)


def test_a_schema_that_is_not_there_is_named() -> None:
    """The message names the file."""
    with pytest.raises(ConfigError, match=r"alert\.v9\.avsc"):
        load_schema("alert", 9)
