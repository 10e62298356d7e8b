"""The form of the buffer's files: frames of parcels, each with its length and checksum.

Pure: bytes in, bytes out. A frame is what was made safe together: after it was written the file was
synced, and only then was anybody told. So a frame that is not whole at the end of a file was
promised to nobody, and one before a whole frame is damage. Frames begin with a word that each file
chooses by chance, so that no event can hold what looks like one.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from streams.collector.parcel import Parcel

_HEAD: Final = struct.Struct("<4sII")
"""The file's word, bytes of the payload, CRC-32 of the payload."""
MAGIC: Final = b"SPB1"
WORD_BYTES: Final = 4
FILE_HEAD_BYTES: Final = len(MAGIC) + WORD_BYTES
"""A file begins with the magic and its word."""
_PARCEL: Final = struct.Struct("<HiiII")
"""Bytes of the topic's name, partition, bytes of the key (-1 for none), of the value, events."""
FRAME_BYTES_MAX: Final = 64 << 20


class Frame(NamedTuple):
    """One frame of a file.

    Attributes:
        end: where the next one begins.
        payload: its parcels, as bytes.
    """

    end: int
    payload: bytes


class Ending(NamedTuple):
    """What a file ends with.

    Attributes:
        whole_bytes: up to where it is whole.
        frames, events: that are whole.
        is_damaged: there are whole frames behind the first one that is not.
    """

    whole_bytes: int
    frames: int
    events: int
    is_damaged: bool


def parcel_bytes(parcel: Parcel) -> int:
    """Return how many bytes a parcel takes in a frame."""
    return _PARCEL.size + len(parcel.topic) + len(parcel.key or b"") + len(parcel.value)


def frame_of(parcels: Sequence[Parcel], word: bytes) -> bytes:
    """Return the frame that holds parcels, for the file of a word."""
    parts: list[bytes] = []
    for parcel in parcels:
        topic, key = parcel.topic.encode(), parcel.key
        key_bytes = -1 if key is None else len(key)
        head = _PARCEL.pack(
            len(topic), parcel.partition, key_bytes, len(parcel.value), parcel.events
        )
        parts += (head, topic, key or b"", parcel.value)
    payload = b"".join(parts)
    return _HEAD.pack(word, len(payload), zlib.crc32(payload)) + payload


def parcels_of(payload: bytes) -> list[Parcel]:
    """Return the parcels of a frame whose checksum is right."""
    found: list[Parcel] = []
    at = 0
    while at < len(payload):
        topic_bytes, partition, key_bytes, value_bytes, events = _PARCEL.unpack_from(payload, at)
        at += _PARCEL.size
        topic = payload[at : at + topic_bytes].decode()
        at += topic_bytes
        key = None if key_bytes < 0 else payload[at : at + key_bytes]
        at += max(key_bytes, 0)
        found.append(Parcel(topic, partition, key, payload[at : at + value_bytes], events))
        at += value_bytes
    return found


def frame_at(data: bytes, at: int, word: bytes) -> Frame | None:
    """Return the whole frame that begins at a byte, None where there is none."""
    if at + _HEAD.size > len(data):
        return None
    found, size, checksum = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    if found != word or size > FRAME_BYTES_MAX or begin + size > len(data):
        return None
    payload = data[begin : begin + size]
    return Frame(begin + size, payload) if zlib.crc32(payload) == checksum else None


def frames_of(data: bytes, at: int, word: bytes) -> Iterator[Frame]:
    """Yield the frames from a byte on, up to the first that is not whole."""
    while (frame := frame_at(data, at, word)) is not None:
        yield frame
        at = frame.end


def ending_of(data: bytes) -> Ending:
    """Return what a file ends with; one without its head was promised to nobody."""
    if data[: len(MAGIC)] != MAGIC or len(data) < FILE_HEAD_BYTES:
        return Ending(0, 0, 0, is_damaged=len(data) > FILE_HEAD_BYTES)
    word = data[len(MAGIC) : FILE_HEAD_BYTES]
    end, frames, events = FILE_HEAD_BYTES, 0, 0
    for frame in frames_of(data, end, word):
        end, frames = frame.end, frames + 1
        events += sum(parcel.events for parcel in parcels_of(frame.payload))
    at = data.find(word, end + 1)
    while at >= 0:
        if frame_at(data, at, word) is not None:
            return Ending(end, frames, events, is_damaged=True)
        at = data.find(word, at + 1)
    return Ending(end, frames, events, is_damaged=False)
