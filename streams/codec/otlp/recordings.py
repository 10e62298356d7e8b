"""Recorded OTLP: files of JSON, JSON lines or protobuf, as a Collector's file exporter writes them.

Every error names the file, and the line where there is one.
Source: OpenTelemetry Collector, `fileexporter`: JSON lines, or protobuf requests each behind its
length in four bytes, most significant first; with `compression: zstd` each request of either form
is a frame behind its length.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from streams.codec.inflate import inflate
from streams.codec.linefile import UNREADABLE, Cut, first_line, lines_of, opened
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import Event
from streams.codec.otlp.requests import (
    KIND_WORDS,
    Request,
    is_json,
    json_tree,
    kind_of,
    request_of,
    request_of_tree,
)
from streams.codec.otlp.services import Services
from streams.codec.schemas import default_schemas
from streams.errors import ConfigError, RecordError, reason_of

FILE_BYTES_MAX: Final = 256 << 20
"""Of a file that is one document; a file of lines or of messages may be of any size."""
LINE_BYTES_MAX: Final = 64 << 20
"""Of a line, or of a message behind its length."""
CUT_MESSAGE: Final = "cut_message"
_LENGTH_BYTES: Final = 4
_READ_BYTES: Final = 1 << 20
_ALONE: Final = b"\x0a"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
"""Begins each frame of zstd, and no message: there is no wire type of this tag."""


def otlp_events(
    path: str | Path, services: Services, kind: str = "", cut: Cut | None = None
) -> Iterator[Event]:
    """Read the events of a recording in its order.

    Args:
        path: the file, plain or .gz.
        services: finds modules.
        kind: what a file of protobuf holds, which its bytes do not tell; "" where its name does.
        cut: hears of a last line or message that was cut; without it such a one is no OTLP.

    Raises:
        ConfigError: the file cannot be read, or is no OTLP; names the line.
    """
    encoder = OtlpEncoder(default_schemas().current("telemetry_event"), services)
    for request in _requests(Path(path), kind, cut):
        for event, _ in encoder.events(request):
            yield event


def _requests(path: Path, kind: str, cut: Cut | None) -> Iterator[Request]:
    try:
        with opened(path) as file:
            first = first_line(path, file, LINE_BYTES_MAX)
            if not first:
                return  # a Collector that had nothing to write leaves such a file
            if not first.lstrip().startswith(b"{"):
                yield from _of_messages(path, first, file, kind, cut)
                return
            if _is_json_line(first):
                for place, line in lines_of(path, file, first, LINE_BYTES_MAX, cut):
                    yield _of_json(place, line)
                return
            yield _of_json(str(path), _whole(path, first, file))
    except UNREADABLE as error:
        raise ConfigError(f"{path}: cannot be read ({reason_of(error)})") from error


def _is_json_line(line: bytes) -> bool:
    try:
        json_tree(line)
    except RecordError:
        return False
    return True


def _of_json(place: str, text: bytes) -> Request:
    try:
        tree = json_tree(text)
        return request_of_tree(kind_of(tree), tree)
    except RecordError as error:
        raise ConfigError(f"{place}: {error.detail}") from error


def _whole(path: Path, first: bytes, file: IO[bytes]) -> bytes:
    data = first + file.read(FILE_BYTES_MAX + 1 - len(first))
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes in one document; split it")
    return data


def _of_messages(
    path: Path, first: bytes, file: IO[bytes], kind: str, cut: Cut | None
) -> Iterator[Request]:
    told = {found for word, found in KIND_WORDS.items() if word in path.name.lower()}
    # A request alone begins with the tag of its first field; behind lengths it would be the first
    # byte of one of 160 MiB or more.
    is_alone = first[:1] == _ALONE
    found = iter([_whole(path, first, file)]) if is_alone else _messages(path, first, file, cut)
    for number, packed in enumerate(found, start=1):
        place = f"{path}: message {number}"
        value = _unpacked(place, packed)
        if not value:
            continue  # it holds nothing; a file whose end was reserved and not written has zeros
        if is_json(value):
            yield _of_json(place, value)
            continue
        if not kind and len(told) != 1:
            raise ConfigError(
                f"{path}: no JSON, and of protobuf neither bytes nor name say what it holds: give "
                "--signal spans, logs or metrics"
            )
        try:
            yield request_of(kind or told.copy().pop(), value)
        except RecordError as error:
            raise ConfigError(f"{place}: {error.detail}") from error


def _unpacked(place: str, value: bytes) -> bytes:
    """Return a message as it was before the exporter compressed it with zstd, if it did."""
    if not value.startswith(_ZSTD):
        return value
    try:
        return inflate("zstd", value, LINE_BYTES_MAX)
    except RecordError as error:
        raise ConfigError(f"{place}: no OTLP: {error.detail}") from error


def _messages(path: Path, first: bytes, file: IO[bytes], cut: Cut | None) -> Iterator[bytes]:
    """Yield the requests of a file, each behind its length; one that is cut at the end is told.

    Raises:
        ConfigError: a length is beyond the bound, or the first message is cut.
    """
    source = _Source(first, file)
    number = 0
    while (head := source.read(_LENGTH_BYTES)) or source.is_torn:
        number += 1
        place = f"{path}: message {number}"
        size = int.from_bytes(head, "big")
        is_whole = len(head) == _LENGTH_BYTES
        if is_whole and size > LINE_BYTES_MAX:
            words = f"no OTLP: {size} bytes, {LINE_BYTES_MAX} may be"
            if number == 1:  # most likely it is neither
                words = f"no JSON, and of protobuf too long: {size} bytes, {LINE_BYTES_MAX} may be"
            raise ConfigError(f"{place}: {words}")
        value = source.read(size) if is_whole else b""
        if not is_whole or len(value) < size:
            words = f"the file ends within this message, after {len(head) + len(value)} bytes of it"
            if source.is_torn:
                words = "the packed file ends within this message"
            if cut is None or number == 1:
                raise ConfigError(f"{place}: no OTLP, or cut: {words}")
            cut(CUT_MESSAGE, place, words)
            return
        yield value


class _Source:
    """A file whose first bytes were read already.

    Attributes:
        is_torn: it is packed, and ends early.
    """

    def __init__(self, first: bytes, file: IO[bytes]) -> None:
        self._held, self._file = BytesIO(first), file
        self.is_torn = False

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end of the file."""
        parts = [self._held.read(size)]
        left = size - len(parts[0])
        try:
            while left and (part := self._file.read(min(left, _READ_BYTES))):
                parts.append(part)
                left -= len(part)
        except EOFError:
            self.is_torn = True
        return b"".join(parts)
