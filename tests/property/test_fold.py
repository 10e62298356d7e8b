"""A fold is the state: whatever was folded, when, and in steps of whatever size."""

import random
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings

from streams.state import fold as fold_module
from streams.state import segment as segment_module
from streams.state.compaction import Compaction
from streams.state.live import LiveSegments, encode_manifest
from streams.state.segment import Segment, read_piece
from tests.join_cases import World, delivered, random_events, settings_of
from tests.judge_cases import random_plan, randoms
from tests.unit.state.decoded import decode_pieces


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut frames so small that each segment has several."""
    monkeypatch.setattr(segment_module, "FRAME_TARGET_BYTES", 700)
    monkeypatch.setattr(fold_module, "FRAME_TARGET_BYTES", 700)


def lived(rng: random.Random) -> World:
    """Return a world after some chunks, cuts, recalls and expiries, with one segment a cut."""
    plan = random_plan(rng)
    retention_us = rng.choice((60, 400, 1 << 55))
    world = World(plan, settings_of(closed_retention_us=retention_us, rejected_traces_max=10_000))
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 10)), late=0.4)
    at = 0
    while at < len(log):
        chunk = log[at : at + rng.choice((1, 3, 10))]
        at += len(chunk)
        now_us = chunk[-1].kafka_us
        world.feed(chunk, [rng.choice((0, now_us)) for _ in range(5)], rejected=rng.choice((0, 1)))
        if rng.random() < 0.3:
            world.task.state.rejected.add([(chunk[0].trace.to_bytes(16, "big"), "ALPHA")])
        if rng.random() < 0.7:
            world.cut()
        if rng.random() < 0.4:
            world.recall()
    world.cut()
    world._write()
    return world


def one_by_one(changelog: Sequence[bytes]) -> list[Segment]:
    """Return the segments as they were written."""
    pieces = [read_piece(value) for value in changelog]
    return [
        decode_pieces([piece.payload for piece in parts])
        for _, parts in groupby(pieces, key=lambda piece: piece.number)
    ]


def state_of(world: World, segments: Sequence[Segment]) -> dict[str, Any]:
    """Return all there is to know of the state that some segments give."""
    fresh = World(world.plan, world.settings)
    for segment in segments:
        fresh.task.apply(segment, fresh._decode)
    state = fresh.task.state
    # What had expired is there until the next step, if the segments are applied one by one.
    expired_ms = next(s.scalars["closed_from_ms"] for s in reversed(segments) if s.scalars)
    whole = state.segment(full=True)
    rows: dict[tuple[int, ...], list[Any]] = {}
    columns = (whole.rows.topic, whole.rows.kafka_us, whole.rows.is_late, whole.rows.is_recalled)
    for key, *values in zip(
        map(tuple, whole.rows.trace_id.tolist()), *columns, whole.rows.body, strict=True
    ):
        rows.setdefault(key, []).append(tuple(values))
    closed, at = [], 0
    for i, key in enumerate(map(tuple, whole.closed.trace_id.tolist())):
        events = sorted(whole.closed.events[at : at + int(whole.closed.size[i])].tolist())
        at += int(whole.closed.size[i])
        names = ("revision", "closed_us", "cut_ms", "is_truncated")
        values = [int(getattr(whole.closed, name)[i]) for name in names]
        if values[2] >= expired_ms:
            closed.append((key, values, whole.closed.known[i].tolist(), events))
    slots = {
        state.open.key(slot): [
            state.open.slots[name][slot].tolist()
            for name in ("first_us", "last_us", "entry_flow", "rows", "bytes", "mask", "revision")
        ]
        for slot in state.open.live_slots().tolist()
    }
    return {
        "rows": rows,
        "closed": closed,
        "slots": slots,
        "reopened": sorted(whole.reopened),
        "scalars": whole.scalars | {"closed_from_ms": expired_ms},
        "rejected": list(whole.rejected),
        "recalled_rows": state.recalled_rows,
    }


@pytest.mark.slow
@settings(max_examples=60)
@given(randoms)
def test_a_fold_gives_the_state_of_its_segments(rng: random.Random) -> None:
    """Applied at once or one after the other, the segments of all cuts give one state."""
    world = lived(rng)
    live = LiveSegments()
    live.add(world.changelog)
    expected = state_of(world, one_by_one(world.changelog))
    assert state_of(world, live.segments()) == expected


@pytest.mark.slow
@settings(max_examples=60)
@given(randoms)
def test_a_base_takes_the_place_of_what_it_replaces(rng: random.Random) -> None:
    """Fold any beginning, then fold base and segments again: before, amid and after it is equal."""
    world = lived(rng)
    records = {}
    for value in world.changelog:
        live = LiveSegments()
        live.add([value])
        records |= live.values()
    numbers = sorted({read_piece(value).number for value in records.values()})
    expected = state_of(world, one_by_one(world.changelog))
    for upto in sorted(rng.sample(numbers, min(2, len(numbers)))):
        known = LiveSegments()
        known.add(v for v in records.values() if read_piece(v).number <= upto)
        made = Compaction(known.line(), 1, records.__getitem__)
        while made.base is None:
            records |= made.step(rng.choice((1, 500, 1 << 20)))
            assert state_of(world, read(records).segments()) == expected, "unfinished"
        key, value = encode_manifest(made.base)
        records[key] = value
        assert state_of(world, read(records).segments()) == expected, "both are there"
        for gone in rng.sample(sorted(made.replaced.all_keys()), len(made.replaced.all_keys())):
            del records[gone]
            if rng.random() < 0.1:
                assert state_of(world, read(records).segments()) == expected, "half deleted"
        assert read(records).line().all_keys() == records.keys(), "nothing is left over"
    assert state_of(world, read(records).segments()) == expected


def read(records: dict[bytes, bytes]) -> LiveSegments:
    """Return what a changelog that holds some records says."""
    live = LiveSegments()
    live.add(records.values())
    return live
