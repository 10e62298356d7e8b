"""Events lie where every other producer would put them, hashed alone or together."""

from hypothesis import given
from hypothesis import strategies as st

from streams.core.traces.murmur2 import HASHES, murmur2_partition, murmur2_together
from streams.sdk.spread import Hashes, Spread

TRACE_IDS = st.integers(1, (1 << 128) - 1)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40), st.integers(1, 200))
def test_keys_hashed_together_are_hashed_as_alone(keys: list[bytes], partitions: int) -> None:
    """Any 32 bytes, however many."""
    found = murmur2_together(keys)
    assert found == [murmur2_partition(key, HASHES) for key in keys]
    assert [one % partitions for one in found] == [murmur2_partition(k, partitions) for k in keys]


@given(st.lists(TRACE_IDS, max_size=20))
def test_a_trace_lies_by_its_id_as_text(trace_ids: list[int]) -> None:
    """Whether its hash was learnt with others or not; a key without a trace lies by itself."""
    hashes = Hashes()
    hashes.learn(trace_ids)
    spread = Spread(lambda topic: (topic, 12), hashes)
    for key in (*trace_ids, b"ALPHA.parser"):
        written = key if isinstance(key, bytes) else b"%032x" % key
        assert spread.place("t", key) == ("t", murmur2_partition(written, 12))
        spread["t", key].append(written.decode())
    for (topic, partition), bodies in spread.batches.items():
        assert topic == "t"
        assert {murmur2_partition(one.encode(), 12) for one in bodies} == {partition}
    assert sum(map(len, spread.batches.values())) == len(trace_ids) + 1


def test_what_has_no_topic_goes_nowhere_and_hashes_stay_few() -> None:
    """Hashes of traces that are over are forgotten."""
    hashes = Hashes()
    for begin in range(0, 20_000, 1_000):
        hashes.learn(range(begin + 1, begin + 1_001))
        assert len(hashes) < 6_000
    spread = Spread(lambda _: None, hashes)
    spread["t", 7].append("body")
    assert (spread.batches, spread.nowhere, spread.place("t", 7)) == ({}, ["body"], None)
