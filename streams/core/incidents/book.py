"""Incidents over time: opened, updated, acknowledged, merged, split, resolved, reopened.

Owns the order of a step and what is worth telling. Invariants: versions of an incident count from
1 without gaps; an event is told only for a material change (an alert joined or left, it became
worse, all of it grew by a magnitude, it flaps, a silence began or ended, nobody took it in time, a
person said so), and an alert that joined without being news is told within the refresh time; what
is not told is counted with the reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams.core.causes.alert_rank import led_to, rank_alerts
from streams.core.causes.evidence import Cause, Evidence
from streams.core.incidents.commands import Answer
from streams.core.incidents.damping import charge
from streams.core.incidents.incident import Alert, Incident, IncidentEvent
from streams.core.incidents.news import (
    CAUSE,
    GROWN,
    WORSE,
    has_another_cause,
    has_joined,
    has_outgrown,
    is_due,
    is_urgent,
)
from streams.core.incidents.orders import Orders, plain_command
from streams.core.incidents.partition import Partition
from streams.core.incidents.placing import Placing, seen_of
from streams.core.incidents.record import Rank, is_hidden, rule_of
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.silences import Silence, because
from streams.core.incidents.state import (
    BY_PERSON,
    FLAPPING,
    JOINED,
    OPENED,
    REOPENED,
    RESOLVED,
    SILENCED,
    UPDATED,
    State,
    Touch,
)
from streams.core.incidents.topology import Topology

_FIRING: Final = "FIRING"


class IncidentBook:
    """All open incidents, and the resolved ones that may still be reopened."""

    def __init__(
        self, settings: IncidentSettings, topology: Topology, rank: Rank | None = None
    ) -> None:
        self.settings = settings
        self.state = State(settings, topology, rank or self._rank)
        self.placing = Placing(self.state)
        self.orders = Orders(self.state, self.placing)
        self._swept_us = 0

    def index(self, is_upgraded: bool) -> None:
        """Make what follows from the state anew, after a restart."""
        self.state.restored(is_upgraded)
        self.placing.index()

    @property
    def open(self) -> dict[str, Incident]:
        """The incidents that are open, by id."""
        return self.state.open

    @property
    def resolved(self) -> dict[str, Incident]:
        """The incidents that are over and may be reopened, by id."""
        return self.state.resolved

    @property
    def discarded(self) -> Counter[str]:
        """Alert states and commands not taken up, by reason."""
        return self.state.discarded

    def update(
        self,
        alerts: Iterable[Alert],
        now_us: int,
        caught_up: bool,
        commands: Iterable[Mapping[str, Any]] = (),
    ) -> list[IncidentEvent]:
        """Take alert states and commands in and return what is worth telling.

        Args:
            alerts: records in the shape of schemas/alert.v1.avsc; their order does not matter.
            now_us: the wall clock, for what people wait for, and for the end of incidents.
            caught_up: whether all alerts have been read.
            commands: as `read_command` returns them, in the order in which they were given; they
                are carried out after the alerts.
        """
        events, _ = self.step(alerts, now_us, caught_up, commands)
        return events

    def step(
        self,
        alerts: Iterable[Alert],
        now_us: int,
        caught_up: bool,
        commands: Iterable[Mapping[str, Any]] = (),
    ) -> tuple[list[IncidentEvent], list[Answer]]:
        """As `update`, and return the answers to the commands too."""
        state = self.state
        passed_us = max(0, now_us - state.now_us) if state.now_us else 0
        if caught_up and state.time_us:
            state.time_us += passed_us
        state.now_us = max(state.now_us, now_us)
        self._release()
        for states in self._latest(alerts).values():
            self._take(states)
        self.placing.place()
        answers = [self.orders.carry_out(record) for record in commands]
        if answers:
            self._release()
        touched, state.touched = state.touched, {}
        for id_ in sorted(touched, key=lambda i: (state.open[i].opened_us, i)):
            self._tell(state.open[id_], touched[id_])
        for incident in state.sorted_open():
            self._tell_in_time(incident)
            self._resolve(incident, now_us, 0 if caught_up else passed_us)
        self._forget()
        events, state.events = state.events, []
        return events, answers

    def take_evidence(self, evidence: Iterable[Evidence], at_us: int) -> None:
        """Take in what was unusual up to a time; an incident is told anew if its cause changes.

        What was seen before may be stronger now, or weaker than what goes on: so whatever is seen
        of a module that an incident's alerts lead to has its cause looked at again.
        """
        seen = self.state.take_evidence(evidence, at_us)
        for incident in self.state.open.values():
            if not incident.version or incident.pending:
                continue
            if seen & led_to(incident.modules, self.state.topology):
                incident.pending = CAUSE
                self.state.dirty.add(("incident", incident.incident_id))

    def _rank(self, alerts: Sequence[Alert], partition: Partition) -> Sequence[Cause]:
        evidence, parameters = self.state.evidence_now(), self.settings.causes
        return rank_alerts(alerts, partition.links, partition.relations, evidence, parameters)

    # --- taking alerts in -----------------------------------------------------------------------

    def _latest(self, alerts: Iterable[Alert]) -> dict[str, list[Alert]]:
        """Return the states that are new, by fingerprint, in the order of their versions."""
        states: dict[str, dict[int, Alert]] = {}
        for alert in alerts:
            of_alert = states.setdefault(alert["fingerprint"], {})
            if alert["version"] in of_alert or self._is_known(alert):
                self.state.discarded["alert_known"] += 1
            else:
                of_alert[alert["version"]] = alert
        found = {p: [s[v] for v in sorted(s)] for p, s in sorted(states.items()) if s}
        seen = [alert["last_seen"] for of_alert in found.values() for alert in of_alert]
        self.state.stream_us = max([self.state.stream_us, *seen])
        self.state.time_us = max(self.state.time_us, self.state.stream_us)
        return found

    def _is_known(self, alert: Alert) -> bool:
        """Say whether a state was taken in, or is older than one that was."""
        print_, version = alert["fingerprint"], alert["version"]
        waiting = self.state.waiting.get(print_)
        if waiting is not None:  # nothing is decided yet: older states count too
            return any(version == seen[0] for seen in waiting.seen)
        incident = self.state.incident_of(print_)
        return incident is not None and version <= incident.members[print_].alert["version"]

    def _take(self, states: list[Alert]) -> None:
        state = self.state
        print_ = states[-1]["fingerprint"]
        incident = state.incident_of(print_)
        if incident is None or print_ in state.waiting:
            self.placing.wait(states)
            return
        known = seen_of(incident.members[print_].alert)
        has_begun = charge(state.damper, print_, known, [seen_of(one) for one in states])
        if incident.incident_id in state.open:
            self._update(incident, states)
        else:
            self._return(incident, states, has_begun)

    def _return(self, incident: Incident, states: list[Alert], has_begun: bool) -> None:
        """Take a resolved incident up again when its alert begins anew.

        An alert that only goes on, after a person resolved its incident, is counted there; one that
        begins much later is a problem of its own.
        """
        state = self.state
        print_ = states[-1]["fingerprint"]
        if not has_begun:
            if incident.is_by_person:
                self._count_on(incident, states)
            else:
                state.discarded["alert_of_no_incident"] += len(states)
                state.count_out(states[-1], "alert_of_no_incident", len(states))
            return
        began_us = max(one["firing_since"] for one in states if one["state"] == _FIRING)
        late_us = began_us - incident.resolved_us
        if late_us > self.settings.reopen_us and not state.damper.is_damped(print_, state.time_us):
            self.placing.wait(states)
            return
        if len(state.open) >= self.settings.max_open:
            state.discarded["incident_over_bound"] += len(states)
            state.count_out(states[-1], "incident_over_bound", len(states))
            return
        del state.resolved[incident.incident_id]
        state.open[incident.incident_id] = incident
        incident.quiet_since_us = 0
        for other, member in incident.members.items():
            state.partition.put(member.alert)
            state.home[other] = incident.incident_id
        state.partition.settle(incident.members)
        state.partition.unite(incident.members, incident.incident_id)
        self._update(incident, states)

    def _count_on(self, incident: Incident, states: list[Alert]) -> None:
        """Count states of an alert that goes on in an incident that a person resolved."""
        state = self.state
        member = incident.members[states[-1]["fingerprint"]]
        member.alert = states[-1]
        state.put(incident, member)
        fired = sum(one["state"] == _FIRING for one in states)
        state.count(incident, states[-1], BY_PERSON, len(states), fired)
        state.touched.pop(incident.incident_id, None)

    def _update(self, incident: Incident, states: list[Alert]) -> None:
        state = self.state
        alert = states[-1]
        member = incident.members[alert["fingerprint"]]
        member.alert = alert
        member.spoke = incident.version
        state.partition.put(alert)
        state.put(incident, member)
        touch = state.touch(incident)
        fired = sum(one["state"] == _FIRING for one in states)
        became = state.why_untold(incident, member)
        state.count(incident, alert, became, len(states), fired)
        is_hushed = became == SILENCED or (became == FLAPPING and incident.version > 0)
        touch.is_heard |= bool(fired) and not is_hushed

    # --- telling --------------------------------------------------------------------------------

    def _tell(self, incident: Incident, touch: Touch) -> None:
        state = self.state
        self._note_flapping(incident, touch)
        if not incident.version or incident.resolved_us:
            if self._may_open(incident, touch.is_heard or bool(incident.audible)):
                event = REOPENED if incident.version else OPENED
                state.tell(incident, event, "fires again" if incident.version else "opened")
            return
        if incident.severity != incident.told_severity and incident.audible:
            if is_urgent(incident, state.now_us, self.settings.update_us):
                state.tell(incident, UPDATED, WORSE)
                return
            incident.pending = WORSE
        if not touch.reason and has_outgrown(incident, self.settings.relations.causal_us):
            touch.reason = GROWN
        touch.reason = touch.reason or CAUSE  # a state may speak for another place than before
        if incident.pending in ("", CAUSE) or touch.reason == SILENCED:
            incident.pending = touch.reason

    def _may_open(self, incident: Incident, is_heard: bool) -> bool:
        """Say whether people should hear of an incident that they do not know to be open."""
        if not is_heard:
            return False
        if incident.version:
            return True
        needed = min(
            self.settings.occurrences_of(rule_of(member.alert), member.alert["kind"])
            for member in incident.members.values()
        )
        if incident.fired < needed:
            self.state.discarded["below_occurrences"] += 1
            return False
        return True

    def _note_flapping(self, incident: Incident, touch: Touch) -> None:
        state = self.state
        if incident.is_flapping or not incident.damped:
            return
        told = self.settings.damping.told
        if any(state.damper.penalty(p, state.time_us) >= told for p in incident.damped):
            incident.is_flapping = True
            touch.reason = touch.reason or FLAPPING

    def _tell_in_time(self, incident: Incident) -> None:
        """Tell what had to wait for its time: changes told together, and that nobody has come."""
        state, now_us = self.state, self.state.now_us
        if not incident.version or incident.resolved_us:
            return
        limit_us = self.settings.escalate_us.get(incident.severity)
        waited_us = now_us - incident.told_us
        if (
            limit_us is not None
            and not incident.acknowledged_by
            and not incident.is_escalated
            and incident.audible
            and now_us - incident.opened_wall_us >= limit_us
        ):
            incident.is_escalated = True
            state.tell(incident, UPDATED, "escalated")
        elif self._is_news(incident):
            state.tell(incident, UPDATED, incident.pending)
        elif incident.audible and waited_us >= self.settings.refresh_us and has_joined(incident):
            is_waiting = incident.pending not in ("", CAUSE)
            state.tell(incident, UPDATED, incident.pending if is_waiting else JOINED)

    def _is_news(self, incident: Incident) -> bool:
        """Say whether what is pending is due, and is news still; what is none is forgotten."""
        state, settings = self.state, self.settings
        times_us = state.now_us, state.time_us, settings.update_us, settings.steady_us
        if not is_due(incident, *times_us):
            return False
        if incident.pending != CAUSE or has_another_cause(incident, state.partition, state.rank):
            return True
        incident.pending = ""
        incident.looked_us = state.now_us
        state.dirty.add(("incident", incident.incident_id))
        return False

    def _release(self) -> None:
        """Look again at who may be heard: silences began or ended, penalties have fallen."""
        state = self.state
        self.orders.expire()
        silences = (*self.settings.maintenance, *(s for _, s in sorted(state.silences.items())))
        active = tuple(silence for silence in silences if silence.holds(state.now_us))
        has_changed = active != state.active
        over = {s.silence_id: s for s in state.active if s not in active}
        state.active = active
        for incident in list(state.open.values()):
            prints = set(incident.damped) if not has_changed else set(incident.members)
            if not prints:
                continue
            was_hidden, heard = is_hidden(incident), set(incident.audible)
            before = _silences(incident) if has_changed else set()
            for print_ in sorted(prints):
                member = incident.members[print_]
                if has_changed or not state.damper.is_damped(print_, state.time_us):
                    state.put(incident, member)
            if has_changed:
                self._note_silences(incident, before, over)
            self._note_release(incident, was_hidden, heard)
        state.unsilenced.clear()

    def _note_silences(
        self, incident: Incident, before: set[str], over: Mapping[str, Silence]
    ) -> None:
        """Remember whose silence began or ended to hide alerts of an incident, and why."""
        state = self.state
        now = _silences(incident)
        texts = []
        for silence in state.active:
            if silence.silence_id in now - before:
                texts.append(f"silenced by {silence.text}")
                if not silence.is_declared:
                    incident.command = silence.command()
        for id_ in sorted(before - now):
            name = over[id_].name if id_ in over else f"silence {id_}"
            order = state.unsilenced.get(id_)
            if order is None:
                texts.append(f"{name} is over")
                continue
            texts.append(f"{name} was ended by {order.actor}{because(order.reason)}")
            incident.command = plain_command(order)
        for text in texts:
            incident.note("", state.now_us, text, self.settings.max_history)

    def _note_release(self, incident: Incident, was_hidden: bool, heard: set[str]) -> None:
        if incident.audible - heard:
            touch = self.state.touch(incident)
            touch.is_heard = True
            if was_hidden:
                touch.reason = "unsilenced"
        elif incident.firing and is_hidden(incident) and not was_hidden:
            self.state.touch(incident).reason = SILENCED

    # --- the end --------------------------------------------------------------------------------

    def _resolve(self, incident: Incident, now_us: int, unread_us: int) -> None:
        """End an incident that has been quiet for long enough.

        Args:
            incident: an open one.
            now_us: the wall clock.
            unread_us: how long before now something was still unread; it does not count, since an
                alert may be in it. No more than that: something comes all the time.
        """
        state, quiet_us = self.state, self.settings.quiet_us
        if not incident.is_over:
            incident.quiet_since_us = 0
            return
        if unread_us or not incident.quiet_since_us:
            since_us = incident.quiet_since_us or now_us
            incident.quiet_since_us = min(now_us, since_us + unread_us)
            state.dirty.add(("incident", incident.incident_id))
        end_us = incident.last_seen_us + quiet_us
        waited_us = now_us - incident.quiet_since_us
        if incident.damped or (state.stream_us < end_us and waited_us < quiet_us):
            return
        if incident.version and not incident.resolved_us:
            incident.resolved_us = end_us
            state.tell(incident, RESOLVED, "quiet", at_us=end_us)
        state.close(incident, end_us)

    def _forget(self) -> None:
        """Drop resolved incidents that nothing can reopen any more, or that are too many."""
        state = self.state
        by_age = sorted(state.resolved.values(), key=lambda i: (i.resolved_us, i.incident_id))
        excess = max(0, len(by_age) - self.settings.max_resolved)
        state.discarded["resolved_over_bound"] += excess
        for index, incident in enumerate(by_age):
            is_old = state.stream_us - incident.resolved_us > self.settings.reopen_us
            is_going_on = incident.is_by_person and bool(incident.firing)
            if is_old and not is_going_on:
                is_going_on = any(
                    state.damper.is_damped(print_, state.time_us) for print_ in incident.damped
                )
            if index < excess or (is_old and not is_going_on):
                state.forget(incident)
        if state.time_us - self._swept_us > self.settings.damping.half_life_us:
            self._swept_us = state.time_us
            state.damper.forget(state.time_us)
        state.dirty |= {("flap", print_) for print_ in state.damper.changed}
        state.damper.changed.clear()
        state.ledger.forget(state.stream_us)


def _silences(incident: Incident) -> set[str]:
    """Return the ids of the silences that hide alerts of an incident."""
    return {member.silenced_by for member in incident.members.values()} - {""}
