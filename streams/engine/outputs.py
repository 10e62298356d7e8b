"""What a task of the global stage hands to the runtime for publication."""

from typing import Any, NamedTuple


class Output(NamedTuple):
    """One record to publish; the runtime knows the topic of each kind and encodes the record.

    Attributes:
        topic_kind: "stats", "alerts", "windows", "evidence", "incidents", "restarts" or "links".
        key: the record's key.
        record: the record, in the shape of the topic's schema.
        partition: the partition that it must go to; None for the topic's usual one.
    """

    topic_kind: str
    key: str
    record: dict[str, Any]
    partition: int | None = None


Outputs = list[Output]
