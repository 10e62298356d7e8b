"""The incident task: alert states in, incident events out.

Owns the state's layout. Invariant: the events depend on the alerts of each step and the state, not
on their order within the step; the clock only ends incidents that have gone quiet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Self

from streams.core.incidents.book import IncidentBook, IncidentSettings
from streams.core.incidents.incident import ALGORITHM, Incident, Member
from streams.core.incidents.topology import Topology
from streams.engine.outputs import Output, Outputs
from streams.errors import StateError

_FORMAT: Final = 1


class IncidentTask:
    """Turns the stream of alerts into incidents."""

    def __init__(self, settings: IncidentSettings, topology: Topology) -> None:
        self.book = IncidentBook(settings, topology)

    def step(self, alerts: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take alerts in; return the incident events that follow.

        Args:
            alerts: records in the shape of schemas/alert.v1.avsc.
            now_us: the wall clock, by which incidents end when no later alert tells the time.
            caught_up: whether the topic has been read to its end.
        """
        events = self.book.update(alerts, now_us, caught_up)
        return [Output("incidents", event["incident_id"], event) for event in events]

    def counters(self) -> dict[str, int]:
        """Return how many alert states were not used, by reason, since the task began."""
        return dict(self.book.discarded)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able."""
        return {
            "format": _FORMAT,
            "algorithm": ALGORITHM,
            "stream_us": self.book.stream_us,
            "open": [asdict(incident) for incident in self.book.open.values()],
            "resolved": [asdict(incident) for incident in self.book.resolved.values()],
        }

    @classmethod
    def restore(
        cls, settings: IncidentSettings, topology: Topology, snapshot: Mapping[str, Any]
    ) -> Self:
        """Return a task in the state of a snapshot; open incidents keep their alerts and ids.

        Raises:
            StateError: the snapshot has another format.
        """
        if snapshot.get("format") != _FORMAT:
            raise StateError(
                f"incident state has format {snapshot.get('format')}, this version reads "
                f"{_FORMAT}. Operator action: run the version that wrote it, or delete the state."
            )
        task = cls(settings, topology)
        task.book.stream_us = int(snapshot["stream_us"])
        task.book.open = {row["incident_id"]: _incident(row) for row in snapshot["open"]}
        task.book.resolved = {row["incident_id"]: _incident(row) for row in snapshot["resolved"]}
        task.book.index()
        return task


def _incident(row: Mapping[str, Any]) -> Incident:
    members = {print_: Member(**member) for print_, member in row["members"].items()}
    return Incident(**{**row, "members": members})
