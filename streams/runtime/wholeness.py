"""Whether an assignment fits: all sources of a task with one worker, and no partition too many."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from streams.errors import StateError
from streams.runtime.task import TaskId


def assert_whole(
    wanted: Mapping[TaskId, AbstractSet[str]],
    kinds: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    *,
    is_counted: bool = True,
) -> None:
    """Refuse an assignment that tears traces, or that this worker's count does not fit.

    Args:
        wanted: the sources of each task that were assigned.
        kinds: by kind of task all its sources.
        counts: by kind of task how many there are.
        is_counted: whether the broker's topics have those counts.

    Raises:
        StateError: it does not fit.
    """
    for task_id, sources in wanted.items():
        many = counts[task_id.kind]
        if task_id.partition >= many and is_counted:
            raise StateError(
                f"partition {task_id.partition} of {sorted(sources)} was added while this "
                f"worker ran; it knows {many}, and keys move. Operator action: stop all workers of "
                f"the group; start them with --rekey {','.join(sorted(sources))} if telemetry "
                "topics alone have grown, else start a new group: see docs/runbook.md, A topic "
                "has more partitions."
            )
    for task_id, sources in wanted.items():
        torn = set(kinds[task_id.kind]) - sources
        if torn:
            raise StateError(
                f"partition {task_id.partition} of {sorted(torn)} went to another worker: the "
                "topic was deleted, or given more partitions, and traces would be torn. Operator "
                "action: make what was deleted with `spanloom topics create`; for more partitions "
                "see docs/runbook.md, A topic has more partitions; restart all workers of the "
                "group."
            )
