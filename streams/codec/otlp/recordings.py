"""Recorded OTLP: files of JSON, JSON lines or protobuf, as a Collector's file exporter writes them.

Every error names the file, and the line where there is one.
Source: OpenTelemetry Collector, `fileexporter`: JSON lines, or protobuf requests each behind its
length in four bytes, most significant first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from streams.codec.linefile import UNREADABLE, Cut, first_line, lines_of, opened
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import Event
from streams.codec.otlp.requests import (
    KIND_WORDS,
    Request,
    json_tree,
    kind_of,
    request_of,
    request_of_tree,
)
from streams.codec.otlp.services import Services
from streams.codec.schemas import default_schemas
from streams.errors import ConfigError, RecordError, reason_of

FILE_BYTES_MAX: Final = 256 << 20
"""Of a file that is one document; JSON lines have no bound but a line's."""
LINE_BYTES_MAX: Final = 64 << 20
_LENGTH_BYTES: Final = 4


def otlp_events(
    path: str | Path, services: Services, kind: str = "", cut: Cut | None = None
) -> Iterator[Event]:
    """Read the events of a recording in its order.

    Args:
        path: the file, plain or .gz.
        services: finds modules.
        kind: what a file of protobuf holds, which its bytes do not tell; "" where its name does.
        cut: hears of a last line of JSON that was cut; without it such a line is no OTLP.

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
                yield from _of_protobuf(path, _whole(path, first, file), kind)
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


def _of_protobuf(path: Path, data: bytes, kind: str) -> Iterator[Request]:
    told = {found for word, found in KIND_WORDS.items() if word in path.name.lower()}
    if not kind and len(told) != 1:
        raise ConfigError(
            f"{path}: no JSON, and of protobuf neither bytes nor name say what it holds: give "
            "--signal spans, logs or metrics"
        )
    for number, value in enumerate(_messages(data), start=1):
        try:
            yield request_of(kind or told.copy().pop(), value)
        except RecordError as error:
            raise ConfigError(f"{path}: message {number}: {error.detail}") from error


def _messages(data: bytes) -> list[bytes]:
    """Return the requests of a file: each behind its length, else one alone."""
    found, at = [], 0
    while at + _LENGTH_BYTES <= len(data):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin], "big")
        found.append(data[begin:at])
    return found if found and at == len(data) else [data]
