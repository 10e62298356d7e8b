"""A worker whose state cannot be read back ends; it never lives on without its tasks."""

import asyncio
from typing import Any

import pytest

from streams.errors import StateError
from streams.runtime.build import load_pipeline
from streams.runtime.worker import Worker
from streams.settings import load_settings


def test_any_failure_to_restore_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a restore raises, foreseen or not, becomes the error that the worker ends with."""

    async def broken(_partitions: set[Any]) -> None:
        raise ValueError("a column has another type")

    async def restore() -> Worker:
        worker = Worker(load_pipeline(load_settings()))
        monkeypatch.setattr(worker, "_assign", broken)
        with pytest.raises(StateError, match=r"another type.*Operator action"):
            await worker.assigned(set())
        return worker

    assert isinstance(asyncio.run(restore()).error, StateError)
