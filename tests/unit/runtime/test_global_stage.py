"""A valid record of another schema in a topic of the global stage: counted, never the end of it."""

import json

import pytest

from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.codec.schemas import default_schemas, schema_folder
from streams.errors import RecordError
from streams.runtime import topics
from streams.runtime.build import load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.global_stage import GlobalFactory
from streams.settings import load_settings
from tests.record_batches import batch

TAKES = {
    topics.FRAGMENTS: {"trace_fragment"},
    topics.PARTIALS: {"fidelity_partial"},
    topics.SIGNALS: {"signal_partial"},
    topics.CAUSE_INPUTS: {"signal_partial", "assembled_trace", "telemetry_event"},
    topics.ALERTS: {"alert"},
    topics.EVIDENCE: {"cause_evidence"},
    topics.COMMANDS: set(),
}
"""By topic: the schemas of its records; commands are JSON."""


def values() -> dict[str, bytes]:
    """Return one wire value of each schema."""
    found = {}
    for name in sorted(path.name for path in (schema_folder() / "examples").iterdir()):
        newest = max((schema_folder() / "examples" / name).iterdir(), key=lambda p: int(p.name))
        example = min(newest.iterdir())
        try:
            default_schemas().current(name)
            found[name] = encode(name, json.loads(example.read_text("utf-8")))
        except (RecordError, TypeError, ValueError):  # an example with bytes or NaN in it
            continue
    return found


def test_there_is_a_value_of_nearly_every_schema() -> None:
    """Else the test below would try nothing."""
    assert len(values()) >= 10
    assert set().union(*TAKES.values()) <= set(values())


@pytest.mark.parametrize("kind", ["fragments", "fidelity", "signals", "causes", "incidents"])
def test_a_record_of_another_schema_is_counted(kind: str) -> None:
    """Each task takes what its topics are of; all else is unreadable."""
    factory = GlobalFactory(load_pipeline(load_settings(contract="seed")), 1)
    for topic in factory.kinds()[kind]:
        for name, value in values().items():
            made = factory.make(kind, 0)
            chunk = Chunk(topic, 0, 0, 1, [batch([Record(0, 0, b"key", value)])])
            made.step([chunk], {topic: 0}, now_us=1_760_000_000_000_000)
            made.step([], {topic: 1}, now_us=1_760_000_060_000_000)
            unreadable = made.status()["unreadable"]
            if topic != topics.COMMANDS:  # a command that is none is answered, not counted
                assert unreadable == (name not in TAKES[topic]), (topic, name)
