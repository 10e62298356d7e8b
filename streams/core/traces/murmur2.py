"""The hash by which producers of Java's family place keys; of the standard library alone."""

from struct import Struct
from typing import Final

_WORD: Final = 0xFFFF_FFFF
_SIGN: Final = 0x8000_0000
_MIX: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_TRACE_ID: Final = Struct("<8I")


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return the partition that Java clients, aiokafka and kafka-python give a key.

    Source: Apache Kafka, ``Utils.murmur2`` and ``Utils.toPositive``.
    """
    size = len(key)
    whole, mix = size & ~3, _MIX
    words = _TRACE_ID.unpack(key) if size == 32 else Struct(f"<{size // 4}I").unpack(key[:whole])
    h = _SEED ^ size
    for word in words:
        k = word * mix & _WORD
        h = (h * mix ^ (k ^ k >> 24) * mix) & _WORD
    if whole < size:
        h = (h ^ int.from_bytes(key[whole:], "little")) * mix & _WORD
    h = (h ^ h >> 13) * mix & _WORD
    return ((h ^ h >> 15) & ~_SIGN) % partitions
