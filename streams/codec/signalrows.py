"""Which series each metric point and log line belongs to: one small integer a row.

Owns the way from the bytes of a signal to its series. Spans and audit entries cost nothing here.
Texts become objects only when a series is seen for the first time.
"""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
import polars as pl

from streams.codec.hashes import value_hash
from streams.codec.profile import Profile
from streams.codec.rows import Rows
from streams.core.columns import LOG, METRIC, SEVERITIES
from streams.core.signals.series import LOG as LOG_SERIES
from streams.core.signals.series import METRIC as METRIC_SERIES
from streams.core.signals.series import NO_SIGNAL, TEXT_MAX, VALUE_MAX, Series, SeriesBook
from streams.core.signals.templates import template_of
from streams.units import I32, I64, U8, U64, Mask

MESSAGE: Final = "message"
"""Dimension that holds a log line's text; without it the event's name is the text."""
_KNOWN_MAX: Final = 50_000
"""Different texts whose series are remembered; lines with ids in them never repeat."""
_UNIT, _TYPE, _SEVERITY = np.array([0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 3], np.uint64)
_KEY, _MIX = np.array([0xA0761D6478BD642F, 0xE7037ED1A0B428DB], np.uint64)


class SignalRows:
    """Gives the metric points and log lines of blocks the codes of their series.

    Args:
        profile: which field fills which column.
        book: interns series; shared with the engine.
        dimensions: keys of the dimensions that tell series apart.
        names: old metric names and what they are called now.
    """

    def __init__(
        self,
        profile: Profile,
        book: SeriesBook,
        dimensions: Sequence[str],
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._columns = profile.columns
        self._book = book
        self._dimensions = tuple(sorted(dimensions))
        self._names = names or {}
        self._keys = list(dict.fromkeys((*self._dimensions, MESSAGE)))
        self._key_hash = np.array([value_hash(key) for key in self._keys], np.uint64)
        self._known: dict[int, int] = {}
        self._naming = Lock()

    def codes(
        self, block: Rows, operation: U64, event_type: U8, severity: U8, is_good: Mask
    ) -> I32:
        """Return (n,) codes of the rows' series, -1 for rows that are none or no good events.

        Args:
            block: n rows.
            operation: (n,) hashes of module, component and name together.
            event_type: (n,) our codes.
            severity: (n,) our codes.
            is_good: (n,) whether the row is a good event.
        """
        codes = np.full(len(operation), NO_SIGNAL, np.int32)
        is_signal = (event_type == METRIC) | (event_type == LOG)
        if not is_signal.any():
            return codes
        rows = np.flatnonzero(is_signal & is_good)
        if not len(rows):
            return codes
        is_log = event_type[rows] == LOG
        mixed = operation[rows] ^ self._hash_of_dimensions(block, rows, is_log)
        if (unit := self._columns.get("unit")) is not None:
            hashed = block.text_hashes([unit])[unit][rows]
            mixed ^= np.where(is_log, np.uint64(0), hashed * _UNIT)
        said = severity[rows].astype(np.uint64) + np.uint64(1)
        mixed ^= np.where(is_log, said * _SEVERITY << np.uint64(17), np.uint64(0))
        mixed ^= (event_type[rows].astype(np.uint64) + np.uint64(1)) * _TYPE
        distinct, first, place = np.unique(mixed, return_index=True, return_inverse=True)
        found = [self._known.get(key, NO_SIGNAL) for key in distinct.tolist()]
        of_key = np.array(found, np.int32)
        new = np.flatnonzero(of_key == NO_SIGNAL)
        new = new[np.argsort(first[new])]  # codes in the order of arrival, not of hashes
        if len(new):
            with self._naming:
                of_key[new] = self._name(distinct[new], block.frame_of(rows[first[new]]))
        codes[rows] = of_key[place]
        return codes

    def _hash_of_dimensions(self, block: Rows, rows: I64, is_log: Mask) -> U64:
        """Return hashes of the entries that count, one a row, whatever their order."""
        out = np.zeros(len(rows), np.uint64)
        name = self._columns.get("dimensions")
        if name is None:
            return out
        found = block.entries(name, rows, self._keys)
        counts = is_log[found.owner] | (found.key != self._keys.index(MESSAGE))
        mixed = (self._key_hash[found.key] * _KEY) ^ found.hash
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
        np.add.at(out, found.owner[counts], mixed[counts])
        return out

    def _name(self, keys: U64, frame: pl.DataFrame) -> list[int]:
        if len(self._known) > _KNOWN_MAX:
            self._known = {}
        codes = []
        for key, row in zip(keys.tolist(), frame.iter_rows(named=True), strict=True):
            code = self._book.code(self._series(row))
            if code >= 0:  # what is beyond the bound has no code of its own
                self._known[key] = code
            codes.append(code)
        return codes

    def _series(self, row: dict[str, Any]) -> Series:
        def text(column: str) -> str:
            name = self._columns.get(column)
            return "" if name is None or row[name] is None else str(row[name])

        entries = row[self._columns["dimensions"]] if "dimensions" in self._columns else []
        given = {entry["key"]: entry["value"] or "" for entry in entries or []}
        kept = ((key, given.get(key, "")[:VALUE_MAX]) for key in self._dimensions)
        dimensions = tuple((key, value) for key, value in kept if value)
        place = text("module")[:TEXT_MAX], text("component")[:TEXT_MAX]
        if row[self._columns["event_type"]] == METRIC:
            said = text("name")
            name, unit = self._names.get(said, said)[:TEXT_MAX], text("unit")[:VALUE_MAX]
            return Series(METRIC_SERIES, *place, name, unit, "", dimensions)
        severity = SEVERITIES[int(row[self._columns["severity"]])]
        template = template_of(given.get(MESSAGE) or text("name"))
        return Series(LOG_SERIES, *place, template, "", severity, dimensions)
