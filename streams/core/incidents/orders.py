"""Commands carried out on the incidents, or refused with the reason.

Owns who may order what when. Invariant: a command changes incidents only where its answer says that
it was not refused, and a command id that was answered is never carried out again: the same order
gets the first one's answer, another one is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from streams.core.incidents.commands import (
    ACK,
    MERGE,
    RESOLVE,
    SILENCE,
    UNSILENCE,
    Answer,
    Answered,
    Command,
    identity,
    parse_command,
)
from streams.core.incidents.incident import Incident
from streams.core.incidents.placing import Placing
from streams.core.incidents.record import owner_of
from streams.core.incidents.silences import Silence, because
from streams.core.incidents.state import ACKNOWLEDGED, RESOLVED, SILENCES_MAX, UPDATED, State
from streams.units import HOUR_US

KEPT_US: Final = 7 * 24 * HOUR_US
"""How long a command id is remembered at least, unless there are too many."""


class Orders:
    """Carries commands out."""

    def __init__(self, state: State, placing: Placing) -> None:
        self.state = state
        self.placing = placing
        self._rules: dict[str, Callable[[Command], str | Incident | int | None]] = {
            ACK: self._acknowledge,
            RESOLVE: self._resolve,
            MERGE: self._merge,
            SILENCE: self._silence,
            UNSILENCE: self._unsilence,
        }

    def carry_out(self, record: Mapping[str, Any]) -> Answer:
        """Carry a command out, unless its id was answered before.

        Args:
            record: as `read_command` returns it.
        """
        state = self.state
        command = parse_command(record, state.now_us)
        if command.fault:
            state.discarded["command_refused"] += 1
            return Answer(command, command.fault, command.incident_id, 0, state.now_us)
        known = state.answered.get(command.command_id)
        if known is not None:
            state.discarded["command_known"] += 1
            return self._again(command, known)
        reached = self._reached(command)
        result = self._rules[command.command](replace(command, incident_id=reached))
        answer = Answer(command, "", reached, 0, state.now_us)
        if isinstance(result, str):
            state.discarded["command_refused"] += 1
            if reached != command.incident_id:
                result = f"the incident is merged into {reached}: {result}"
            answer = replace(answer, refused=result, incident_id=command.incident_id)
        elif isinstance(result, int):
            answer = replace(answer, alerts_hidden=result)
        elif result is not None:
            answer = replace(answer, incident_id=result.incident_id, version=result.version)
        self._remember(answer)
        return answer

    def _again(self, command: Command, known: Answered) -> Answer:
        """Answer a command whose id was answered: as then, where it is the same order."""
        now_us = self.state.now_us
        if known.order == identity(command):
            first = (known.refused, known.incident_id, known.version)
            return Answer(command, *first, now_us, known.at_us)
        whose = f" by {known.whose}" if known.whose else ""
        refused = f"its command_id was used before{whose}: give it one of its own"
        return Answer(command, refused, command.incident_id, 0, now_us, known.at_us)

    def _remember(self, answer: Answer) -> None:
        state, command = self.state, answer.command
        state.answered[command.command_id] = Answered(
            state.now_us,
            identity(command),
            f"{command.actor}'s {command.command}",
            answer.refused,
            answer.incident_id,
            answer.version,
        )
        state.dirty.add(("answered", command.command_id))
        self._forget()

    def expire(self) -> None:
        """Let go of the silences whose time is over."""
        state = self.state
        for id_ in [i for i, s in state.silences.items() if s.until_us <= state.now_us]:
            del state.silences[id_]
            state.dirty.add(("silence", id_))

    def _forget(self) -> None:
        state = self.state
        old = [i for i, one in state.answered.items() if one.at_us < state.now_us - KEPT_US]
        excess = len(state.answered) - len(old) - state.settings.max_commands
        if excess > 0:
            gone = set(old)
            kept = sorted((one.at_us, i) for i, one in state.answered.items() if i not in gone)
            old += [i for _, i in kept[:excess]]
            state.discarded["command_over_bound"] += excess
        for id_ in old:
            del state.answered[id_]
            state.dirty.add(("answered", id_))

    def _reached(self, command: Command) -> str:
        """Return the incident that an order is for: the named one, or that which took it over.

        Two incidents become one for those who look at both, so a merge is for the named ones only.
        A silence that was made before holds under the old id, and ends under it.
        """
        named = command.incident_id
        if not named or command.command == MERGE:
            return named
        if command.command == UNSILENCE and self._silences_of({"incident_id": named}):
            return named
        return self._successor(named)

    def _successor(self, incident_id: str) -> str:
        """Return the incident that has the alerts of one now, also after several merges."""
        state, into = self.state, incident_id
        if into in state.open or into in state.resolved:
            return into
        while into in state.gone and state.gone[into].merged_into:
            into = state.gone[into].merged_into
        return into

    def _told(self, incident_id: str) -> str | Incident:
        """Return an incident that people know to be open, else why there is none."""
        state = self.state
        incident = state.open.get(incident_id)
        if incident is not None and incident.version and not incident.resolved_us:
            return incident
        if incident_id in state.resolved or (incident is not None and incident.version):
            return "the incident is resolved"
        return self._absent(incident_id)

    def _absent(self, incident_id: str) -> str:
        """Return why there is no incident of an id, and which one has its alerts now."""
        into = self._successor(incident_id)
        if into != incident_id:
            return f"the incident is merged into {into}"
        if incident_id in self.state.gone:
            return "the incident is merged into another one or was resolved long ago"
        return "there is no such incident"

    # --- the commands ---------------------------------------------------------------------------

    def _acknowledge(self, command: Command) -> str | Incident:
        incident = self._told(command.incident_id)
        if isinstance(incident, str):
            return incident
        if incident.acknowledged_by:
            return f"{incident.acknowledged_by} has acknowledged it already"
        incident.acknowledged_by = command.actor
        incident.acknowledged_us = self.state.now_us
        incident.command = plain_command(command)
        self.state.tell(incident, ACKNOWLEDGED, "acknowledged", text=_said("acknowledged", command))
        return incident

    def _resolve(self, command: Command) -> str | Incident:
        incident = self._told(command.incident_id)
        if isinstance(incident, str):
            return incident
        state = self.state
        incident.command = plain_command(command)
        end_us = max(incident.last_seen_us, incident.event_us)
        incident.resolved_us = end_us
        text = _said("resolved", command)
        state.tell(incident, RESOLVED, "resolved by a person", at_us=end_us, text=text)
        state.touched.pop(incident.incident_id, None)
        state.close(incident, end_us, is_by_person=True)
        return incident

    def _merge(self, command: Command) -> str | Incident:
        if command.incident_id == command.into:
            return "an incident cannot be merged into itself"
        incident, into = self._told(command.incident_id), self._told(command.into)
        if isinstance(incident, str):
            return incident
        if isinstance(into, str):
            return f"into: {into}"
        partition = self.state.partition
        partition.pin(incident.founder, into.founder)
        incident.command = plain_command(command)
        self.placing.merge(incident, into, _said("merged", command))
        partition.unite(into.members, into.incident_id)
        into.command = plain_command(command)
        self.state.tell(into, UPDATED, "merged", text=_said("merged", command))
        into.pins.append([incident.founder, into.founder])
        return into

    def _silence(self, command: Command) -> str | int:
        state = self.state
        if command.until_us <= state.now_us:
            return "until_us is over already"
        if len(state.silences) >= state.settings.max_silences:
            return f"there are {len(state.silences)} silences already: end some first"
        if command.matcher is None:
            known = state.open.get(command.incident_id) or state.resolved.get(command.incident_id)
            if known is None:
                return self._absent(command.incident_id)
        matcher = command.matcher or {"incident_id": command.incident_id}
        silence = state.silences[command.command_id] = Silence(
            command.command_id,
            dict(matcher),
            state.now_us,
            command.until_us,
            command.actor,
            command.reason,
        )
        state.dirty.add(("silence", command.command_id))
        return self._hidden(silence)

    def _hidden(self, silence: Silence) -> int:
        """Return how many alerts of open incidents that fire a silence means."""
        topology = self.state.topology
        return sum(
            silence.matches(m.alert, owner_of(m.alert, topology).owner, (id_, *m.was_in))
            for id_, incident in self.state.open.items()
            for m in (incident.members[print_] for print_ in incident.firing)
        )

    def _silences_of(self, matcher: Mapping[str, str]) -> list[str]:
        """Return the ids of the silences that were made with a matcher."""
        silences = self.state.silences.items()
        return [id_ for id_, silence in silences if dict(silence.matcher) == dict(matcher)]

    def _hiding(self, incident_id: str) -> str:
        """Say which silences hide alerts of an incident, though none was made for it."""
        incident = self.state.open.get(incident_id)
        members = incident.members.values() if incident is not None else ()
        hiding = sorted({member.silenced_by for member in members} - {""})
        if not hiding:
            return ""
        return f" of this incident: its alerts are hidden by {', '.join(hiding[:SILENCES_MAX])}"

    def _unsilence(self, command: Command) -> str | None:
        state = self.state
        matcher = command.matcher
        if command.incident_id:
            matcher = {"incident_id": command.incident_id}
        found = [command.silence_id] if command.silence_id in state.silences else []
        found += self._silences_of(matcher) if matcher else []
        if not found:
            is_declared = any(
                s.silence_id == command.silence_id for s in state.settings.maintenance
            )
            if is_declared:
                return "the contract declares this window: change it there"
            return "there is no such silence" + self._hiding(command.incident_id)
        for id_ in found:
            del state.silences[id_]
            state.dirty.add(("silence", id_))
            state.unsilenced[id_] = command
        return None


def _said(what: str, command: Command) -> str:
    return f"{what} by {command.actor}{because(command.reason)}"


def plain_command(command: Command) -> dict[str, Any]:
    """Return what an incident keeps of the order that changed it."""
    kept = ("command", "command_id", "actor", "reason", "at_us")
    return {name: value for name, value in asdict(command).items() if name in kept}
