"""What a task is called, how its host is paced, and how it reaches broker and disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.monitoring.meter import BoundsMet, no_bounds
from streams.runtime.delivery import Delivery
from streams.runtime.topic_ids import TopicIds, no_ids
from streams.settings import WorkerSettings
from streams.state.compaction import FOLD_BYTES_MAX

JOIN: Final = "join"
"""The kind of the tasks that put traces together."""
_REKEY: Final = "rekey."


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host paces its task.

    Attributes:
        coalesce_seconds: longest time that chunks are collected before a step.
        step_rows_max: a step is not made larger than this by waiting.
        inbox_rows_max, inbox_bytes_max: with as much the source is told to wait.
        cut_interval_seconds: time between cuts.
        restarts_max: refused commits within the window before the worker gives up.
        restart_window_seconds: how long a refused commit is remembered.
        call_seconds_max: a call of a transaction that takes longer will never return.
    """

    coalesce_seconds: float = 1.0
    step_rows_max: int = 10_000
    inbox_rows_max: int = 40_000
    inbox_bytes_max: int = 64 << 20
    cut_interval_seconds: float = 0.3
    restarts_max: int = 10
    restart_window_seconds: float = 300.0
    call_seconds_max: float = 20.0

    @classmethod
    def of(cls, settings: WorkerSettings) -> HostSettings:
        """Return what a worker's settings say."""
        return cls(
            coalesce_seconds=settings.coalesce_seconds,
            step_rows_max=settings.step_rows_max,
            inbox_rows_max=settings.inbox_rows_max,
            inbox_bytes_max=settings.inbox_bytes_max,
            cut_interval_seconds=settings.cut_interval_seconds,
            restarts_max=settings.restarts_max,
            restart_window_seconds=settings.restart_window_seconds,
            call_seconds_max=settings.commit_call_seconds_max,
        )


@dataclass(frozen=True, slots=True)
class TaskId:
    """A task of the worker: its kind, and the partition of its sources."""

    kind: str
    partition: int

    @property
    def is_rekey(self) -> bool:
        """Whether it places the events of a topic anew."""
        return self.kind.startswith(_REKEY)

    def __str__(self) -> str:
        return f"{self.kind}-{self.partition}"


@dataclass(frozen=True)
class Connection:
    """How to reach broker and disk.

    Attributes:
        base: client settings.
        disk_free_min_bytes: room that the disk of `state_dir` must have.
        delivery: what is promised to readers of the outputs.
        patience_seconds: how long a broker may be away in the middle of a commit.
        topic_ids: tells a topic from one that was made again under its name.
        fold_bytes_max: how much of its old state a task's cut folds.
        bounds_met: where it is counted, by task, how often bounds acted.
    """

    base: Mapping[str, object] = field(repr=False)  # it may hold a password
    group: str
    state_dir: Path
    disk_free_min_bytes: int = 0
    delivery: Delivery = "exactly_once"
    patience_seconds: float = 120.0
    topic_ids: TopicIds = no_ids
    fold_bytes_max: int = FOLD_BYTES_MAX
    bounds_met: BoundsMet = field(default_factory=no_bounds)


def changelog_topic(group: str, kind: str) -> str:
    """Return the name of the changelog of one kind of task."""
    return f"spanloom.{group}.{kind}.state.v1"


def rekey_kind(topic: str) -> str:
    """Return the kind of the tasks that place a topic's events anew."""
    return _REKEY + topic
