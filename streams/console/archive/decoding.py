"""How records become rows: treated first, and as columns where that is known, else one by one."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from streams.console.archive.decoded import Decoded, Rows, Values, joined, one_by_one
from streams.console.archive.eventcolumns import event_columns
from streams.console.archive.kinds import Kind
from streams.console.archive.otlpcolumns import NOWHERE, OtlpEvents, OtlpSource
from streams.console.archive.tracecolumns import trace_columns
from streams.console.archive.treated import Treating
from streams.core.privacy.records import Privacy
from streams.runtime.reading import Message

REQUEST_BYTES_MAX: Final = 4 << 20
"""Of OTLP messages that are decoded together: their events take several times as much, for each
repeats its resource, and a poll may bring thousands of a megabyte."""
_DECODE: Final = {"traces": trace_columns, "events": event_columns}
"""By the first kind that a topic feeds."""


class Decoding:
    """Makes rows of records as they come.

    Args:
        privacy: what is personal, and what is kept in its place; None for nothing of that.
        otlp: the topics that hold OTLP messages.
    """

    def __init__(self, privacy: Privacy | None = None, otlp: OtlpSource = NOWHERE) -> None:
        self._treating = None if privacy is None else Treating(privacy)
        self._otlp = OtlpEvents(otlp, privacy) if otlp.kinds else None

    def portions(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """Yield messages in their order, no more together than memory has room for."""
        begin = held_bytes = 0
        for end, message in enumerate(messages if self._otlp is not None else ()):
            if self._is_request(message):
                own_bytes = len(message.value or b"")
                if held_bytes and held_bytes + own_bytes > REQUEST_BYTES_MAX:
                    yield messages[begin:end]
                    begin, held_bytes = end, 0
                held_bytes += own_bytes
        if messages[begin:]:
            yield messages[begin:]

    def rows(self, kinds: Sequence[Kind], messages: Sequence[Message]) -> Decoded:
        """Return the rows that records of topics are, for all the kinds that these feed.

        Args:
            kinds: the same for each of the topics.
            messages: the records.
        """
        requests = [(i, m) for i, m in enumerate(messages) if self._is_request(m)]
        if self._otlp is None or not requests:
            return self._own(kinds, [message.value for message in messages])
        (kind,) = kinds
        parts, unreadable = self._otlp.rows(kind, requests)
        foreign = {i for i, _ in requests}
        others = np.array([i for i in range(len(messages)) if i not in foreign], np.int64)
        own = self._own(kinds, [messages[i].value for i in others.tolist()])
        table, message = own.rows[kind.name]
        parts.append(Rows(table, others[message]))
        unreadable += others[list(own.unreadable)].tolist()
        return Decoded({kind.name: joined(kind, parts)}, unreadable)

    def _is_request(self, message: Message) -> bool:
        return self._otlp is not None and self._otlp.is_request(message)

    def _own(self, kinds: Sequence[Kind], values: Values) -> Decoded:
        """Return the rows that records of our own schemas are."""
        if self._treating is not None:
            values = self._treating.values(kinds, values)
        return _DECODE.get(kinds[0].name, one_by_one)(kinds, values)
