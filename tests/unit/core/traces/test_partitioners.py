"""Partitioners place keys as the clients do, and the topic that differs is named."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Producer

from streams.core.traces.partitioners import (
    KEYS_KEPT,
    KEYS_MIN,
    PARTITIONERS,
    STRIDE,
    Misplaced,
    PartitionerWatch,
    crc32_partition,
    fnv1a_partition,
    murmur2_partition,
)
from streams.runtime.embedded import EmbeddedBroker

KEYS = [f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}".encode() for i in range(1, 4000)]
ODD_KEYS = [b"a", b"ab", b"abc", b"abcd", b"abcde", bytes(range(200, 256)), "schlüssel".encode()]
TOPICS = ("alpha", "beta", "gamma", "links")
N, MINE = 4, 1


def test_vectors_published_by_others_hold() -> None:
    """Kafka's murmur2 of "21" and "foobar", CRC-32's check value, and FNV-1a's of "a"."""
    assert murmur2_partition(b"21", 2**31) == -973932308 & 0x7FFFFFFF
    assert murmur2_partition(b"foobar", 2**31) == -790332482 & 0x7FFFFFFF
    assert crc32_partition(b"123456789", 2**32) == 0xCBF43926
    assert fnv1a_partition(b"a", 2**32) == 2**32 - 0xE40C292C


def test_murmur2_is_that_of_aiokafka() -> None:
    """Keys of every length modulo four go where aiokafka's default partitioner puts them."""
    for key in (*KEYS[:200], *ODD_KEYS):
        assert murmur2_partition(key, 7) == (murmur2(key) & 0x7FFFFFFF) % 7


@pytest.mark.parametrize(
    ("setting", "name"),
    [("consistent_random", "crc32"), ("murmur2_random", "murmur2"), ("fnv1a_random", "fnv1a")],
)
def test_keys_go_where_librdkafka_puts_them(setting: str, name: str) -> None:
    """A real producer with the setting delivers each key to the partition that is computed."""
    found: dict[bytes, int] = {}
    with EmbeddedBroker() as broker:
        producer = Producer(
            {"bootstrap.servers": broker.address, "partitioner": setting, "log_level": 0}
        )
        partitions = len(producer.list_topics("keys", timeout=60).topics["keys"].partitions)
        deadline = time.monotonic() + 60
        while not partitions and time.monotonic() < deadline:
            partitions = len(producer.list_topics("keys", timeout=60).topics["keys"].partitions)
        for key in (*KEYS[:50], *ODD_KEYS):
            producer.produce(
                "keys", b"", key, on_delivery=lambda _, m: found.update({m.key(): m.partition()})
            )
        assert producer.flush(60) == 0
    assert partitions > 1
    assert found == {key: PARTITIONERS[name](key, partitions) for key in (*KEYS[:50], *ODD_KEYS)}


def placed(name: str, count: int = 80) -> list[bytes]:
    """Return keys that a partitioner puts into the partition that is read."""
    return [key for key in KEYS if PARTITIONERS[name](key, N) == MINE][:count]


def observe(
    watch: PartitionerWatch, topic: int, keys: Sequence[bytes], *, said: object = 0
) -> None:
    """Let a topic deliver events of these traces; `said` stands for the key of all of them."""
    halves = [(int(key[:16], 16), int(key[16:], 16)) for key in keys]
    watch.observe(
        np.full(len(keys), topic, np.uint8),
        np.array(halves, np.uint64).reshape(-1, 2),
        np.arange(len(keys)),
        lambda row: keys[row] if said == 0 else said,  # type: ignore[arg-type, return-value]
    )


def watch_of(partitions: int = N) -> PartitionerWatch:
    return PartitionerWatch(TOPICS, MINE, partitions, ignored=(3,))


def test_the_topic_that_differs_from_most_is_named() -> None:
    """Two topics by murmur2, one by CRC32: the one is named, with what was found and expected."""
    watch = watch_of()
    for topic, name in enumerate(("murmur2", "crc32", "murmur2")):
        observe(watch, topic, placed(name))
    assert watch.misplaced() == {1: Misplaced("crc32", "murmur2")}


def test_the_majority_is_right_whatever_it_uses() -> None:
    """With two topics by FNV-1a the one by murmur2 is to change, and is told to what."""
    watch = watch_of()
    for topic, name in enumerate(("fnv1a", "fnv1a", "murmur2")):
        observe(watch, topic, placed(name))
    assert watch.misplaced() == {2: Misplaced("murmur2", "fnv1a")}
    assert "partitioner=fnv1a_random" in watch.misplaced()[2].sentence


def test_of_equally_many_murmur2_is_right() -> None:
    """One against one: the default of Java clients stays; three kinds: the two others change."""
    watch = watch_of()
    observe(watch, 0, placed("crc32"))
    assert watch.misplaced() == {}
    observe(watch, 1, placed("murmur2"))
    assert watch.misplaced() == {0: Misplaced("crc32", "murmur2")}
    observe(watch, 2, placed("fnv1a"))
    assert watch.misplaced() == {
        0: Misplaced("crc32", "murmur2"),
        2: Misplaced("fnv1a", "murmur2"),
    }


def test_few_keys_vote_and_accuse_nobody() -> None:
    """Eight keys of two topics outvote an earlier one; 49 do not make a topic guilty, 50 do."""
    watch = watch_of()
    observe(watch, 0, placed("crc32", KEYS_MIN - 1))
    for topic in (1, 2):
        observe(watch, topic, placed("murmur2", 8))
    assert watch.misplaced() == {}
    observe(watch, 0, placed("crc32")[-1:])
    assert watch.misplaced() == {0: Misplaced("crc32", "murmur2")}


@pytest.mark.parametrize(
    ("said", "found", "fix"),
    [(None, "unkeyed", "key each record"), (b"order-17", "foreign", "key each record")],
)
def test_keys_that_are_no_trace_ids_are_told_apart(said: object, found: str, fix: str) -> None:
    """Records without a key, or with another's, differ from a topic whose keys are trace ids."""
    watch = watch_of()
    observe(watch, 0, placed("murmur2"))
    observe(watch, 1, placed("murmur2"), said=said)
    assert watch.misplaced() == {1: Misplaced(found, "murmur2")}
    assert fix in watch.misplaced()[1].sentence


def test_other_keys_are_no_fault_where_all_topics_use_them() -> None:
    """Keys of orders say nothing about where traces lie; without any key all is torn."""
    watch = watch_of()
    for topic in (0, 1):
        observe(watch, topic, placed("murmur2"), said=b"order-17")
    assert watch.misplaced() == {}
    observe(watch, 2, KEYS[:80], said=None)
    assert watch.misplaced() == {2: Misplaced("unkeyed", "murmur2")}


def test_producers_that_differ_within_one_topic_are_a_fault_of_it_alone() -> None:
    """Half of a topic's keys by CRC32, half by murmur2: no partitioner fits, two explain all."""
    watch = watch_of()
    mixed = [key for pair in zip(placed("crc32"), placed("murmur2"), strict=True) for key in pair]
    observe(watch, 0, mixed)
    assert watch.misplaced() == {0: Misplaced("mixed", "murmur2")}


def test_a_partitioner_nobody_knows_differs_from_a_known_one() -> None:
    """Keys that lie anywhere fit nothing: a fault beside a topic by murmur2, alone none."""
    watch = watch_of()
    observe(watch, 0, KEYS[:KEYS_KEPT])
    assert watch.misplaced() == {}
    observe(watch, 1, placed("murmur2"))
    assert watch.misplaced() == {0: Misplaced("unknown", "murmur2")}


def test_one_partition_and_topics_placed_by_other_means_are_left_alone() -> None:
    """With one partition every key fits; links are placed by number."""
    alone, watch = watch_of(partitions=1), watch_of()
    for topic, name in enumerate(("murmur2", "murmur2", "crc32", "crc32")):
        observe(alone, topic, placed(name))
        observe(watch, topic, placed(name))
    assert alone.misplaced() == {}
    assert watch.misplaced() == {2: Misplaced("crc32", "murmur2")}


def test_cuts_of_the_stream_decide_nothing() -> None:
    """Which keys are looked at follows from their number in their topic."""
    keys = [*placed("crc32", 40), *placed("murmur2", 500), *placed("crc32", 800)]
    whole, cut = watch_of(), watch_of()
    observe(whole, 0, keys)
    for start in range(0, len(keys), 7):
        observe(cut, 0, keys[start : start + 7])
    assert whole.snapshot() == cut.snapshot()


def test_a_mended_producer_is_believed_after_some_time() -> None:
    """The latest keys decide: after enough of them the topic differs no longer."""
    watch = watch_of()
    observe(watch, 0, placed("murmur2"))
    observe(watch, 1, placed("crc32"))
    assert watch.misplaced() == {1: Misplaced("crc32", "murmur2")}
    mended = placed("murmur2", 512)
    for _ in range(KEYS_KEPT * STRIDE // len(mended)):
        observe(watch, 1, mended)
    assert watch.misplaced() == {}


def test_a_restored_watch_goes_on() -> None:
    """The snapshot holds what was found."""
    watch, other = watch_of(), watch_of()
    observe(watch, 0, placed("murmur2"))
    observe(watch, 1, placed("crc32"))
    other.restore(watch.snapshot())
    assert other.misplaced() == watch.misplaced() != {}
    assert other.snapshot() == watch.snapshot()


def test_the_counter_says_what_was_found() -> None:
    """The name of the counter is all that the alert rule gets."""
    misplaced = Misplaced("crc32", "murmur2")
    assert misplaced.counter == "mispartitioned.crc32.murmur2"
    assert Misplaced.from_counter(misplaced.counter) == misplaced
