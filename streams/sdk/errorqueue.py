"""Context in error queues: what to keep beside a record that failed, and how its trace goes on.

An entry is a few texts, so that it fits the headers of a Kafka message as well as columns or JSON.
Source: row S2-67 of the requirements (context loss). Invariant: reading never raises; an entry that
says nothing usable gives a context without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from streams.sdk.propagation import Counting, extract, items_of, outgoing
from streams.sdk.span import Context

ATTEMPT: Final = "spanloom-attempt"
ERROR_TYPE: Final = "spanloom-error-type"
_ATTEMPTS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """What is kept.

    Attributes:
        context: of the span that failed.
        attempts: how often the record was tried, 1 or more.
        error_type: name of the exception's type, "" for none.
    """

    context: Context = field(default_factory=Context)
    attempts: int = 1
    error_type: str = ""

    def headers(self) -> dict[str, str]:
        """Return the entry as texts by name."""
        own = {ATTEMPT: str(self.attempts), ERROR_TYPE: self.error_type}
        return dict(outgoing(self.context)) | {n: v for n, v in own.items() if v}

    def kafka_headers(self) -> list[tuple[str, bytes]]:
        """Return the entry as headers of a Kafka message."""
        return [(name, value.encode()) for name, value in self.headers().items()]

    def fresh(self) -> Context:
        """Return the context without its trace: what the record is, and what it carries."""
        at = self.context
        return Context(
            baggage=at.baggage,
            record_id=at.record_id,
            batch_id=at.batch_id,
            correlation_id=at.correlation_id,
        )

    @classmethod
    def read(cls, headers: Any, counting: Counting | None = None) -> Self:
        """Return the entry that headers of a message, or a mapping, hold."""
        try:
            pairs = list(items_of(headers))
            texts = {
                str(n).lower(): v.decode("latin-1") if isinstance(v, bytes) else str(v)
                for n, v in pairs
            }
        except Exception:  # no pairs
            return cls()
        said = texts.get(ATTEMPT, "1")
        attempts = int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 1
        context = extract(pairs, counting)
        return cls(context, min(max(1, attempts), _ATTEMPTS_MAX), texts.get(ERROR_TYPE, ""))


def entry_of(error: BaseException | None, context: Context | None) -> ErrorEntry:
    """Return the entry of a failure in a context; a retry's count goes on."""
    at = context or Context()
    said = (getattr(at, "dimensions", None) or {}).get("attempt", "1")
    attempts = int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 1
    return ErrorEntry(at, attempts, type(error).__name__ if error is not None else "")


def attempt_of(entry: ErrorEntry) -> str:
    """Return the number of the next attempt, as the dimension `attempt` has it."""
    return str(entry.attempts + 1)
