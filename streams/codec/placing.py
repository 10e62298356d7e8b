"""The partition of each event, as producers of the telemetry topics compute it."""

import numpy as np

from streams.codec.ids import as_hex
from streams.units import I64, U64

_MIX = np.uint32(0x5BD1E995)
_SEED = 0x9747B28C
_KEY_BYTES = 32


def trace_partitions(trace_id: U64, partitions: int | I64) -> I64:
    """Return the partition that murmur2 gives each trace id as 32 lower-case hex digits.

    Args:
        trace_id: (n, 2) both halves.
        partitions: of the topic; (n,) where each goes to one of its own.

    Returns:
        (n,) as `core.traces.partitioners.murmur2_partition` gives one by one.
    """
    octets = trace_id.astype(">u8").view(np.uint8).reshape(len(trace_id), 16)
    words = as_hex(octets).view("<u4").astype(np.uint32)
    h = np.full(len(trace_id), _SEED ^ _KEY_BYTES, np.uint32)
    for column in range(words.shape[1]):
        k = words[:, column] * _MIX
        k = (k ^ (k >> np.uint32(24))) * _MIX
        h = h * _MIX ^ k
    h = (h ^ (h >> np.uint32(13))) * _MIX
    h ^= h >> np.uint32(15)
    return (h & np.uint32(0x7FFF_FFFF)).astype(np.int64) % partitions
