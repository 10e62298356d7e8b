"""The spans that were expected and not seen, as columns; shared by every judge that finds some.

Owns the row shape and the cause codes. Invariant: every array of one `MissingColumns` has the same
length, and a label index points into its own `labels`, whose first entry is always "".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.units import I32, I64, U8, U64, Mask

# Symbol order of MissingCause in schemas/assembled_trace.v1.avsc: the codes below are the wire's.
(
    NEVER_ARRIVED,
    LATE,
    LATE_SOURCE,
    SAMPLED_OUT,
    IN_FLIGHT,
    CONTEXT_RESTARTED,
    ORPHANED,
    MODULE_SILENT,
    MISPARTITIONED,
    REJECTED,
) = range(10)
CAUSES: Final = (
    "NEVER_ARRIVED",
    "LATE",
    "LATE_SOURCE",
    "SAMPLED_OUT",
    "IN_FLIGHT",
    "CONTEXT_RESTARTED",
    "ORPHANED",
    "MODULE_SILENT",
    "MISPARTITIONED",
    "REJECTED",
)
NO_LABEL: Final = 0
NO_OPERATION: Final = -1


@dataclass(frozen=True, slots=True)
class MissingColumns:
    """The missing spans of a batch of traces, one row each; every array has the same length m.

    Attributes:
        trace: (m,) ordinal of the trace in its batch.
        span_id: (m,) the id a child names as its parent, 0 when nobody names it.
        operation: (m,) code in `Operations` of the missing span, -1 unknown.
        from_label: (m,) near end of the losing edge, index into `labels`; 0 for none.
        to_label: (m,) far end of the losing edge, index into `labels`; 0 for none.
        cause: (m,) code as on the wire, see `CAUSES`.
        labels: the stage labels that the two columns point to; the first is "".
    """

    trace: I32
    span_id: U64
    operation: I32
    from_label: I32
    to_label: I32
    cause: U8
    labels: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.trace)

    def take(self, index: I64 | Mask) -> "MissingColumns":
        """Return the rows at `index`, integer positions or a boolean mask; labels stay."""
        return MissingColumns(
            self.trace[index],
            self.span_id[index],
            self.operation[index],
            self.from_label[index],
            self.to_label[index],
            self.cause[index],
            self.labels,
        )


def empty(labels: tuple[str, ...] = ("",)) -> MissingColumns:
    """Return zero rows, with the given labels."""
    none = np.zeros(0, np.int32)
    return MissingColumns(
        none, np.zeros(0, np.uint64), none, none, none, np.zeros(0, np.uint8), labels
    )


def concat(parts: Sequence[MissingColumns]) -> MissingColumns:
    """Return the rows of all parts, in order, under one tuple of labels.

    Each label keeps the index of its first appearance, so parts that share their labels keep
    their codes. No parts at all give zero rows.
    """
    if not parts:
        return empty()
    labels: dict[str, int] = {"": NO_LABEL}
    moved = [
        np.array([labels.setdefault(label, len(labels)) for label in part.labels], np.int32)
        for part in parts
    ]
    return MissingColumns(
        np.concatenate([part.trace for part in parts]),
        np.concatenate([part.span_id for part in parts]),
        np.concatenate([part.operation for part in parts]),
        np.concatenate([m[part.from_label] for m, part in zip(moved, parts, strict=True)]),
        np.concatenate([m[part.to_label] for m, part in zip(moved, parts, strict=True)]),
        np.concatenate([part.cause for part in parts]),
        tuple(labels),
    )
