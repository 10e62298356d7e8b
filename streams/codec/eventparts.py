"""Rows of telemetry that were read together, until all of a chunk are put in order."""

from dataclasses import dataclass

import numpy as np

from streams.codec.columnar import Block
from streams.codec.otlp.columns import SpanColumns
from streams.codec.rows import Rows
from streams.codec.treating import EventTreating
from streams.core.bodies import Bodies
from streams.units import I64, Mask


@dataclass(slots=True)
class Part:
    """Rows that were read together: row i of `block` is chunk row `row[i]` with body i."""

    block: Rows | SpanColumns
    row: I64
    body: Bodies


def treated(treating: EventTreating, part: Part) -> Part:
    """Return rows without what is personal in them, in columns and bodies."""
    assert isinstance(part.block, Block), "no columns are wanted where something is treated"
    block, body = treating.block(part.block)
    return Part(block, part.row, body)


def sound_part(block: Rows, row: I64, body: Bodies) -> Part:
    """Return the rows of a block that are sound; row and body of all of them are given."""
    return good_part(block, row, body, block.is_sound)


def good_part(block: Rows, row: I64, body: Bodies, is_good: Mask) -> Part:
    """Return the rows of a block that are good; row and body of all of them are given."""
    if is_good.all():
        return Part(block, row, body)
    at = np.flatnonzero(is_good)
    return Part(block.take(at), row[at], body.take(at))
