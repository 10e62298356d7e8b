"""Which incident an alert belongs to: opened, joined, merged, and left again.

Owns what follows when the partition of the alerts changes. An incident follows its founder, the
alert that it was opened for: alerts that turn out to be another problem leave it, and say so.
Invariant: an alert that fires is in at most one open incident, and every group of the partition is
one incident or waits for its time.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from streams.core.incidents.damping import charge
from streams.core.incidents.incident import Alert, Incident, Member, incident_id
from streams.core.incidents.news import SPLIT, TOOK_OVER
from streams.core.incidents.partition import Part
from streams.core.incidents.state import JOINED, MERGED, SILENCED, State, Waiting, age

FIRST_SIGN: Final = "it is the first sign of the problem"
ONE_CAUSE: Final = "one cause"
"""Why incidents are merged that nobody ordered to be."""
MERGED_MAX: Final = 1_000
"""Of the incidents that one took over, how many it names: the latest."""
WAS_IN_MAX: Final = 8
"""Of the incidents that an alert was in before they were merged, how many it knows: the latest."""
CAME_ALONG: Final = "it came along with the others of its problem"


class Placing:
    """Keeps incidents in step with the partition."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._due: list[tuple[int, str]] = []

    def index(self) -> None:
        """Find again what waits, after a restart."""
        self._due = [(waiting.due_us, print_) for print_, waiting in self.state.waiting.items()]
        heapify(self._due)

    def wait(self, states: list[Alert]) -> None:
        """Take in an alert that is in no incident, or more states of it, in whatever order."""
        state = self.state
        print_ = states[-1]["fingerprint"]
        waiting = state.waiting.get(print_)
        if waiting is None:
            waiting = Waiting(states[-1], state.now_us + state.settings.hold_us)
            state.waiting[print_] = waiting
            heappush(self._due, (waiting.due_us, print_))
        waiting.alert = max(waiting.alert, states[-1], key=lambda alert: alert["version"])
        waiting.seen += [seen_of(alert) for alert in states]
        if waiting.fired:  # one that never fired is no problem of anybody
            state.partition.put(waiting.alert)
        state.dirty.add(("waiting", print_))

    def place(self) -> None:
        """Bring the incidents in step with the partition, and open those whose time has come."""
        state = self.state
        for change in state.partition.regroup():
            self._place(change.part, change.new, is_due=False)
        while self._due and self._due[0][0] <= state.now_us:
            _, print_ = heappop(self._due)
            waiting = state.waiting.get(print_)
            if waiting is not None and not waiting.fired:
                self._refuse(print_, "alert_of_no_incident")
            elif waiting is not None:
                part = state.partition.part_of[print_]
                self._place(part, sorted(part.prints), is_due=True)

    def _place(self, part: Part, new: list[str], is_due: bool) -> None:
        owners = self._owners(part, new)
        if owners:
            incident = owners[0]
            for other in owners[1:]:
                self.merge(other, incident)
        else:
            found = self._found(new, is_due)
            if found is None:
                return
            incident = found
        part.home = incident.incident_id
        self._bring(part, incident, new)
        self._stay(new, incident)

    def _owners(self, part: Part, new: Iterable[str]) -> list[Incident]:
        """Return the open incidents whose founder is in a group, the oldest first."""
        state = self.state
        if part.home in state.open and state.open[part.home].founder in part.prints:
            return [state.open[part.home]]
        homes = {state.home[print_] for print_ in new if print_ in state.home}
        found = [state.open[id_] for id_ in homes if id_ in state.open]
        return sorted((i for i in found if i.founder in part.prints), key=age)

    def _found(self, prints: list[str], is_due: bool) -> Incident | None:
        """Open an incident for a group that has none; None while, or where, it may not be."""
        state = self.state
        waiting = [p for p in prints if p in state.waiting]
        leaving = [p for p in prints if self._may_leave(p)]
        if waiting and not is_due and all(state.waiting[p].due_us > state.now_us for p in waiting):
            return None
        if not waiting and not leaving:
            self._stay(prints, None)
            return None
        if len(state.open) >= state.settings.max_open:
            for print_ in waiting:
                self._refuse(print_, "incident_over_bound")
            self._stay(prints, None)
            return None
        alerts = [state.partition.alerts[p] for p in (*waiting, *leaving)]
        first = min(alerts, key=lambda a: (a["firing_since"], a["fingerprint"]))
        incident = Incident(incident_id(alerts), founder=first["fingerprint"])
        known = state.resolved.get(incident.incident_id)
        if known is not None:
            state.forget(known)
        if incident.incident_id in state.gone:  # it goes on where it ended
            incident.version = state.gone.pop(incident.incident_id).version
            incident.resolved_us = 1
            state.dirty.add(("gone", incident.incident_id))
        incident.opened_us = min(alert["last_seen"] for alert in alerts)
        if leaving:
            incident.split_from = state.home[min(leaving)]
        state.open[incident.incident_id] = incident
        return incident

    def _may_leave(self, print_: str) -> bool:
        """Say whether an alert is in an open incident that it could leave: not when it is over."""
        state = self.state
        incident = state.open.get(state.home.get(print_, ""))
        return incident is not None and print_ in incident.firing and incident.founder != print_

    def _bring(self, part: Part, incident: Incident, new: list[str]) -> None:
        """Take the alerts of a group that are not in its incident yet into it."""
        state = self.state
        touch = state.touch(incident)
        ordered = sorted(new, key=lambda p: (state.partition.alerts[p]["firing_since"], p))
        for print_ in ordered:
            if print_ in incident.members:
                continue
            waiting = state.waiting.get(print_)
            if waiting is None and not self._may_leave(print_):
                continue
            if len(incident.members) >= state.settings.max_alerts:
                if waiting is not None:
                    self._refuse(print_, "alert_over_bound")
                continue
            alert = state.partition.alerts[print_]
            link = state.partition.why(print_, part.prints)
            because = link.reason if link is not None else CAME_ALONG
            if print_ == incident.founder:
                because = FIRST_SIGN
            if waiting is None:
                self._leave(print_, incident)
                incident.fired += 1  # the states that it had are in the books of the other one
            else:
                charge(state.damper, print_, None, sorted(waiting.seen))
            member = Member(alert, because, incident.version)
            state.put(incident, member)
            incident.has_arrivals |= waiting is None and not member.silenced_by
            if waiting is not None:
                del state.waiting[print_]
                state.dirty.add(("waiting", print_))
                became = SILENCED if member.silenced_by else JOINED
                state.count(incident, alert, became, len(waiting.seen), waiting.fired)
            if not member.silenced_by and not (incident.version and print_ in incident.damped):
                touch.is_heard = True  # what nobody was ever told is told, though it flaps
                if alert["module"] not in incident.told_modules:
                    touch.reason = touch.reason or JOINED

    def _leave(self, print_: str, into: Incident) -> None:
        state = self.state
        old = state.open[state.home[print_]]
        member = state.take_out(old, print_)
        text = f"alert {member.alert['name'] or print_} left for incident {into.incident_id}"
        old.note("", state.now_us, f"{text}: it is another problem", state.settings.max_history)
        state.touch(old).reason = SPLIT

    def _stay(self, prints: Iterable[str], incident: Incident | None) -> None:
        """Keep with their incident the alerts that the partition would move and that may not."""
        state = self.state
        homes = {state.home[print_] for print_ in prints if print_ in state.home}
        for id_ in sorted(homes):
            if id_ in state.open and (incident is None or id_ != incident.incident_id):
                state.partition.unite(state.open[id_].members, id_)

    def _refuse(self, print_: str, reason: str) -> None:
        state = self.state
        waiting = state.waiting.pop(print_)
        state.dirty.add(("waiting", print_))
        state.partition.drop([print_])
        state.discarded[reason] += len(waiting.seen)
        state.count_out(waiting.alert, reason, len(waiting.seen))

    def merge(self, incident: Incident, into: Incident, order: str = "") -> None:
        """Move the alerts of one incident into another, and tell the last of the first.

        Args:
            incident: that ends.
            into: that takes it over.
            order: who ordered it and why, in words; "" where they turned out to have one cause.
        """
        state = self.state
        state.touched.pop(incident.incident_id, None)
        touch = state.touch(into)
        if incident.version:
            reason = TOOK_OVER if order else ONE_CAUSE
            state.tell(incident, MERGED, reason, into.incident_id, text=order)
        for print_ in list(incident.members):
            member = state.take_out(incident, print_)
            member.because = f"it came with incident {incident.incident_id}: {member.because}"
            member.spoke = into.version
            member.was_in = [*member.was_in, incident.incident_id][-WAS_IN_MAX:]
            state.put(into, member)
        into.alerts_in += incident.alerts_in
        into.fired += incident.fired
        into.suppressed += incident.suppressed
        into.untold += incident.untold
        into.merged_from = [*into.merged_from, incident.incident_id][-MERGED_MAX:]
        into.pins += incident.pins
        text = f"took over incident {incident.incident_id}: {order or ONE_CAUSE}"
        into.note("", state.now_us, text, state.settings.max_history)
        touch.is_heard |= bool(into.audible)
        touch.reason = touch.reason or TOOK_OVER
        state.forget(incident, into.incident_id)


def seen_of(alert: Alert) -> tuple[int, bool, int, int]:
    """Return what flips are told by: version, whether it fires, start and last violation."""
    is_firing = alert["state"] == "FIRING"
    return alert["version"], is_firing, alert["firing_since"], alert["last_seen"]
