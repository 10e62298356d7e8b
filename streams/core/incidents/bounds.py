"""How large an event may be: whatever alerts say, it is one record that its topic takes.

Owns the shares of an event's fields. Their sum is below 1 MiB (max_message_bytes of the topic), in
UTF-8 and before compression, so that no text from outside can stop the task. Invariant: what is
left out is left out at the end, and the leading alert never is.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

_T = TypeVar("_T")

ALERTS_BYTES_MAX: Final = 224 << 10
"""Of the alerts that an event lists; the usual hundred need a third of it."""
EXPLANATION_BYTES_MAX: Final = 16_000
SENTENCE_BYTES_MAX: Final = 1_200
"""Of a cause's evidence, and of its name."""
LABELS_BYTES_MAX: Final = 64 << 10
IDS_BYTES_MAX: Final = 32 << 10
"""Of the sampled trace ids, of the record ids, and of the rules."""
NAMES_BYTES_MAX: Final = 48 << 10
"""Of the modules, and of the flows, that an incident reaches."""
TITLE_BYTES_MAX: Final = 2_000
HISTORY_BYTES_MAX: Final = 2_000
"""Of one entry of an incident's history."""
_MORE: Final = "\u2026"


def cut(text: str, max_bytes: int) -> str:
    """Return a text of at most so many bytes of UTF-8, with an ellipsis where it was cut."""
    if len(text) * 4 <= max_bytes:
        return text
    octets = text.encode()
    if len(octets) <= max_bytes:
        return text
    return octets[: max_bytes - len(_MORE.encode())].decode(errors="ignore") + _MORE


def fitting(items: Iterable[_T], size_of: Callable[[_T], int], max_bytes: int) -> list[_T]:
    """Return the first items, as many as fit together."""
    found: list[_T] = []
    left = max_bytes
    for item in items:
        left -= size_of(item)
        if left < 0:
            break
        found.append(item)
    return found


def fitting_texts(texts: Iterable[str], max_bytes: int) -> list[str]:
    """Return the first texts, as many as fit together."""
    return fitting(texts, size, max_bytes)


def fitting_labels(labels: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """Return the first labels, as many as fit together."""
    return dict(fitting(labels.items(), lambda pair: size(pair[0]) + size(pair[1]), max_bytes))


def size(text: str) -> int:
    """Return how many bytes a text has."""
    return len(text) if text.isascii() else len(text.encode())
