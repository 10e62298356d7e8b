"""The incident task: alert states, evidence and people's commands in; events and answers out.

Owns the order of what it says, and the state's format. Invariant: the events depend on the alerts
of each step, the commands and the state, not on the alerts' order within the step; the clock only
decides how long people wait for an event.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self

from streams.core.causes.evidence import Evidence
from streams.core.incidents.book import IncidentBook
from streams.core.incidents.bounds import size
from streams.core.incidents.commands import Answer
from streams.core.incidents.incident import ALGORITHM
from streams.core.incidents.ledger import key_text
from streams.core.incidents.settings import LEDGER_EVERY_US, IncidentSettings
from streams.core.incidents.topology import Topology
from streams.engine import incident_state
from streams.engine.audit import audit_event
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs

_FORMAT: Final = 3
"""A field more of anything that is kept is another format: an earlier version cannot read it."""
_OLDEST: Final = 2
ALERT_BYTES_MAX: Final = 400_000
"""Texts of one alert in UTF-8: with more, its entry might not fit into a piece of the state."""


class Changes(NamedTuple):
    """What changed in a state since it was last asked: its entries by key.

    Attributes:
        removed: keys of entries that are gone or stand in `entries` anew; 16 bytes each.
        entries: key and value of those that are there.
    """

    removed: list[bytes]
    entries: list[tuple[bytes, bytes]]


class IncidentTask:
    """Turns the stream of alerts into incidents."""

    def __init__(self, settings: IncidentSettings, topology: Topology) -> None:
        self.book = IncidentBook(settings, topology)
        self._published_us = 0

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take alerts and commands in; return the incident events and answers that follow.

        Args:
            records: alerts in the shape of schemas/alert.v1.avsc; commands, which have a field
                `command`, as `read_command` returns them; and evidence, which has a field
                `evidence`, in the shape of schemas/cause_evidence.v1.avsc.
            now_us: the wall clock, by which incidents end when no later alert tells the time.
            caught_up: whether all topics have been read to their end.
        """
        alerts, commands = [], []
        for record in records:
            if "command" in record:
                commands.append(record)
            elif "evidence" in record:
                self.book.take_evidence(map(_evidence, record["evidence"]), record["at"])
            elif _bytes(record) > ALERT_BYTES_MAX:
                self.book.discarded["alert_too_large"] += 1
            else:
                alerts.append(record)
        events, answers = self.book.step(alerts, now_us, caught_up, commands)
        outputs = [Output("incidents", event["incident_id"], event) for event in events]
        outputs += [_audit(answer, number) for number, answer in enumerate(answers)]
        return outputs + self._ledger(now_us)

    def _ledger(self, now_us: int) -> Outputs:
        """Publish the rows of the ledger that changed, once a minute."""
        ledger = self.book.state.ledger
        if not ledger.unpublished or now_us - self._published_us < LEDGER_EVERY_US:
            return []
        self._published_us = now_us
        return [Output("ledger", key_text(key), row) for key, row in ledger.publish()]

    def counters(self) -> dict[str, int]:
        """Return how many alert states and commands were not used, by reason, since it began."""
        state = self.book.state
        return {
            **self.book.discarded,
            "relation_over_bound": state.partition.left_out,
            "evidence_over_bound": state.evidence.left_out,
        }

    # --- state ----------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """Return the small part of the state, which every cut writes."""
        state = self.book.state
        return {
            "format": _FORMAT,
            "algorithm": ALGORITHM,
            "stream_us": state.stream_us,
            "time_us": state.time_us,
            "now_us": state.now_us,
            "published_us": self._published_us,
        }

    def changes(self) -> Changes:
        """Return the entries that changed since the last call."""
        state = self.book.state
        changed = state.ledger.changed
        state.dirty |= {("ledger", incident_state.ledger_id(key)) for key in changed}
        changed.clear()
        removed, entries = [], []
        for kind, id_ in sorted(state.dirty):
            value = incident_state.entry(state, kind, id_)
            key = entry_key(kind, id_)
            removed.append(key)
            if value is not None:
                entries.append((key, json.dumps([kind, id_, value]).encode()))
        state.dirty.clear()
        return Changes(removed, entries)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able."""
        return {**self.header(), "entries": list(incident_state.entries(self.book.state))}

    @classmethod
    def restore(
        cls, settings: IncidentSettings, topology: Topology, snapshot: Mapping[str, Any]
    ) -> Self:
        """Return a task in the state of a snapshot; open incidents keep their alerts and ids.

        Args:
            settings: as of a fresh task.
            topology: as of a fresh task.
            snapshot: what `snapshot` returned, or `header` with the live `entries`; also of
                earlier formats, a whole state of format 1.

        Raises:
            StateError: the snapshot has another format.
        """
        task = cls(settings, topology)
        state = task.book.state
        if snapshot.get("format") == 1:
            incident_state.restore_first(state, snapshot)
        else:
            check_format(snapshot, _FORMAT, "incident state", _OLDEST)
            state.stream_us, state.time_us = snapshot["stream_us"], snapshot["time_us"]
            state.now_us, task._published_us = snapshot["now_us"], snapshot["published_us"]
            incident_state.restore(state, snapshot["entries"])
        is_upgraded = snapshot["algorithm"] != ALGORITHM
        task.book.index(is_upgraded)
        if is_upgraded or snapshot["format"] != _FORMAT:
            state.dirty |= incident_state.everything(state)
        return task


def entry_key(kind: str, id_: str) -> bytes:
    """Return the key under which an entry of the state is kept: 16 bytes."""
    return blake2b(f"{kind}/{id_}".encode(), digest_size=16).digest()


def _bytes(alert: Mapping[str, Any]) -> int:
    ids = (i for name in ("trace_ids", "record_ids", "batch_ids") for i in alert[name])
    labels = (text for pair in alert.get("labels", {}).items() for text in pair)
    return size(alert["explanation"]) + sum(map(size, ids)) + sum(map(size, labels))


def _evidence(item: Mapping[str, Any]) -> Evidence:
    fields = {name: value for name, value in item.items() if name not in ("since", "trace_ids")}
    return Evidence(**fields, since_us=item["since"], trace_ids=tuple(item["trace_ids"]))


def _audit(answer: Answer, number: int) -> Output:
    event = audit_event(answer, number)
    return Output("audit", event["record_id"] or "commands", event)
