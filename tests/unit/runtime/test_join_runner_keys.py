"""What the join's shell says of keys and rejections, beyond the events that it decodes."""

from collections.abc import Sequence

import pytest

from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.core.traces.partitioners import Misplaced, crc32_partition, murmur2_partition
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.join_runner import JoinRunner
from streams.settings import load_settings
from tests.record_batches import batch
from tests.unit.codec.codec_cases import T0_US, TRACE_ID, event, value

BETA, OTHER = "telemetry.beta.v1", "telemetry.other.v1"
KEY = TRACE_ID.encode()
PARTITION, PARTITIONS = 1, 4


@pytest.fixture(scope="module")
def factory() -> JoinFactory:
    return JoinFactory(load_pipeline(load_settings(contract="seed")), PARTITIONS)


@pytest.fixture
def runner(factory: JoinFactory) -> JoinRunner:
    made = factory.make(PARTITION)
    assert isinstance(made, JoinRunner)
    return made


def take(runner: JoinRunner, topic: str, records: Sequence[tuple[bytes | None, bytes]]) -> None:
    """Let the runner take one chunk, a record a second."""
    rows = [Record(i, T0_US // 1000 + i * 1000, key, body) for i, (key, body) in enumerate(records)]
    runner.step([Chunk(topic, PARTITION, 0, len(rows), [batch(rows)])], {}, T0_US)


@pytest.mark.parametrize(
    ("topic", "key", "bad", "module"),
    [
        (BETA, KEY, value(span_id="no"), "BETA"),
        (BETA, KEY, b"\x00garbage", "BETA"),
        (OTHER, KEY, value(span_id="no", module="OMEGA"), "OMEGA"),
        (OTHER, b"order-17", value(span_id="no", module="OMEGA"), "OMEGA"),
        (OTHER, KEY, b"\x00garbage", None),
        (BETA, b"order-17", b"\x00garbage", None),
        (BETA, None, value(span_id="no", trace_id="no"), None),
        (BETA, KEY, value(event_type="LOG", event_id="no"), None),
    ],
)
def test_a_rejected_span_is_known_by_its_trace_as_far_as_it_can_be_read(
    runner: JoinRunner, topic: str, key: bytes | None, bad: bytes, module: str | None
) -> None:
    """By its key or its value, its module by its value or its topic; an annotation is no span."""
    take(runner, topic, [(key, bad)])
    assert runner.task.state.accounts["rejected"] == 1
    known = runner.task.state.rejected.modules(bytes.fromhex(TRACE_ID))
    assert known == ((module,) if module else ())


def test_a_rejected_record_counts_in_the_window_of_its_kafka_time(runner: JoinRunner) -> None:
    """Twelve records, a second apart, lie in two windows of ten seconds."""
    take(runner, BETA, [(KEY, b"\x00garbage")] * 12)
    windows = runner.task.state.counts.take_changed(0)
    assert [w["window_start"] - T0_US for w in windows] == [0, 10_000_000]
    assert [w["scopes"][0]["counters"] for w in windows] == [{"rejected": 10}, {"rejected": 2}]


def test_the_keys_of_the_records_tell_the_partitioner(runner: JoinRunner) -> None:
    """Beta's keys lie where CRC32 puts them, those of others where murmur2 does."""
    traces = [f"{i:032x}" for i in range(1, 1_000)]
    for topic, module, place in (
        (BETA, "BETA", crc32_partition),
        ("telemetry.alpha.v1", "ALPHA", murmur2_partition),
    ):
        mine = [t for t in traces if place(t.encode(), PARTITIONS) == PARTITION][:60]
        events = [event(trace_id=t, module=module) for t in mine]
        bodies = [encode("telemetry_event", one) for one in events]
        take(runner, topic, [(t.encode(), b) for t, b in zip(mine, bodies, strict=True)])
    state = runner.task.state
    beta = state.topics.index(BETA)
    assert state.partitioners.misplaced() == {beta: Misplaced("crc32", "murmur2")}
