"""The external task: JSON records of the topic for alerts from outside in, alerts out.

Owns the order: read, reject what is wrong, remember the rest. Invariant: the alerts depend on the
records; the clock only ends what nobody repeats, and bounds the time at which a record came: its
sender's clock says that, and a time ahead of us would move the incidents' for good.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from streams.codec.external_alerts import ExternalAlert, read_external
from streams.core.alerts.external import ExternalBook, ExternalSettings
from streams.core.incidents.topology import Topology
from streams.core.privacy.records import Privacy
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs

_FORMAT: Final = 1
KEPT_BYTES_MAX: Final = 64 << 10
"""So much of a rejected value is kept."""


class ExternalTask:
    """Turns alerts from outside into alert records.

    Args:
        settings: of the book of alerts.
        topology: of the pipeline.
        privacy: what becomes of personal fields, which labels may repeat; None for nothing.
    """

    def __init__(
        self, settings: ExternalSettings, topology: Topology, privacy: Privacy | None = None
    ) -> None:
        self._privacy = privacy
        self.settings = settings
        self.topology = topology
        self.book = ExternalBook(settings, topology)
        self.rejected: dict[str, int] = {}

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take records in; return the alerts that follow and the records that were wrong.

        Args:
            records: per record topic, partition, offset, timestamp (of the broker), key and value.
            now_us: the wall clock.
            caught_up: whether the topic has been read to its end.
        """
        out: Outputs = []
        for record in records:
            body = read_external(record["value"])
            out += [self._rejection(record, reason, detail) for reason, detail in body.bad]
            for alert in map(self._treated, body.alerts):
                told = self.book.update(
                    alert.source,
                    alert.labels,
                    alert.annotations,
                    is_firing=alert.is_firing,
                    starts_us=alert.starts_us,
                    ends_us=alert.ends_us,
                    came_us=min(record["timestamp"], now_us),
                )
                out += [Output("alerts", one["fingerprint"], one) for one in told]
        ended = self.book.expire(now_us if caught_up else self.book.stream_us)
        return out + [Output("alerts", one["fingerprint"], one) for one in ended]

    def _treated(self, alert: ExternalAlert) -> ExternalAlert:
        """Return an alert without what is personal in its labels, and in words that repeat it."""
        if self._privacy is None:
            return alert
        said = {"labels": alert.labels, "annotations": alert.annotations}
        return alert._replace(**self._privacy.told(said))

    def _rejection(self, record: Mapping[str, Any], reason: str, detail: str) -> Output:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        value = record["value"] or b""
        event: dict[str, Any] = {
            "reason": reason,
            "detail": detail,
            **{name: record[name] for name in ("topic", "partition", "offset", "timestamp")},
            "key": record["key"] or b"",
            "value": value,
            "value_bytes": len(value),
        }
        if self._privacy is not None:
            event = self._privacy.unread(event)
        event["value"] = event["value"][:KEPT_BYTES_MAX]
        return Output("rejected", reason, event)

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason, since the task began."""
        return {**self.book.discarded, **self.rejected}

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able."""
        return {"format": _FORMAT, "book": self.book.snapshot(), "rejected": dict(self.rejected)}

    @classmethod
    def restore(
        cls,
        settings: ExternalSettings,
        topology: Topology,
        snapshot: Mapping[str, Any],
        privacy: Privacy | None = None,
    ) -> Self:
        """Return a task in the state of a snapshot.

        Raises:
            StateError: the snapshot has another format.
        """
        check_format(snapshot, _FORMAT, "state of external alerts")
        task = cls(settings, topology, privacy)
        task.book.restore(snapshot["book"])
        task.rejected = dict(snapshot["rejected"])
        return task
