"""The life of incidents against a slow model: what people are told, and that the books balance.

Each alert stands alone here (no relation holds between them), so that each is one incident and the
model can be a few plain rules over its whole history: penalties are summed from all flips that ever
were, silences are looked up one by one, nothing is kept that could be kept wrongly.
"""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.core.incidents.settings import DampingSettings, IncidentSettings
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.engine.incidents import IncidentTask
from tests.unit.core.incidents.alerts import alert

SECOND = 1_000_000
HALF_LIFE, QUIET, HOLD, ESCALATE = 40, 6, 2, 50
MODULES = ("M0", "M1", "M2")
SETTINGS = IncidentSettings(
    damping=DampingSettings(half_life_us=HALF_LIFE * SECOND),
    quiet_us=QUIET * SECOND,
    reopen_us=10**15,
    hold_us=HOLD * SECOND,
    escalate_us={"ERROR": ESCALATE * SECOND},
)
TOPOLOGY = Topology(modules={name: ModuleInfo(f"team-{name}") for name in MODULES})


class Model:
    """What one alert has done, and what people were told of it."""

    def __init__(self) -> None:
        self.flips: list[int] = []
        self.version = 0
        self.is_firing = False
        self.since = self.ended = 0
        self.first: int | None = None
        self.events: list[dict[str, Any]] = []
        self.is_taken = self.is_escalated = self.is_ended_by_person = False
        self.told_at = 0

    @property
    def is_told_open(self) -> bool:
        """Say whether people believe that it is going on."""
        return bool(self.events) and self.events[-1]["event"] != "RESOLVED"

    def penalty(self, time: int) -> tuple[float, bool]:
        """Return the penalty, and whether it damps, from all flips that there ever were."""
        total, at, is_damped = 0.0, 0, False
        for flip in self.flips:
            total *= 0.5 ** ((flip - at) / HALF_LIFE)
            is_damped = is_damped and total > 1_000
            total, at = min(8_000.0, total + 1_000), flip
            is_damped = is_damped or total >= 1_500
        total *= 0.5 ** ((time - at) / HALF_LIFE)
        return total, is_damped and total > 1_000


class Life(RuleBasedStateMachine):
    """Alerts fire, end and go on; people order; time passes; the task is restarted."""

    @initialize()
    def begin(self) -> None:
        self.task = IncidentTask(SETTINGS, TOPOLOGY)
        self.now = 1_000
        self.models = {name: Model() for name in MODULES}
        self.silences: dict[str, tuple[str, int]] = {}
        self.orders = 0

    # --- what happens

    @rule(name=st.sampled_from(MODULES), wait=st.integers(1, 30))
    def flip(self, name: str, wait: int) -> None:
        """The alert ends, or begins anew."""
        self._pass(wait)
        model = self.models[name]
        model.is_firing = not model.is_firing
        if model.version:
            model.flips.append(self.now)
        if model.is_firing:
            model.since, model.is_ended_by_person = self.now, False
        else:
            model.ended = self.now
        self._send(name)

    @rule(name=st.sampled_from(MODULES), times=st.integers(2, 7), gap=st.integers(1, 20))
    def flip_often(self, name: str, times: int, gap: int) -> None:
        """The alert flips at a pace."""
        for _ in range(times):
            self.flip(name=name, wait=gap)

    @precondition(lambda self: any(m.is_firing for m in self.models.values()))
    @rule(data=st.data(), wait=st.integers(1, 30))
    def go_on(self, data: st.DataObject, wait: int) -> None:
        """An alert that fires says so again."""
        names = [name for name, model in self.models.items() if model.is_firing]
        name = data.draw(st.sampled_from(names))
        self._pass(wait)
        self._send(name)

    @rule(seconds=st.integers(1, 120))
    def wait(self, seconds: int) -> None:
        """Nothing happens for a while; the task is asked every second."""
        self._pass(seconds)

    @rule(name=st.sampled_from(MODULES), seconds=st.integers(1, 60))
    def silence(self, name: str, seconds: int) -> None:
        """A person silences a module."""
        id_ = f"c{self.orders}"
        self.silences[id_] = (name, self.now + seconds)
        until_us = (self.now + seconds) * SECOND
        assert self._order("silence", matcher={"module": name}, until_us=until_us) == "accepted"

    @precondition(lambda self: self.silences)
    @rule(data=st.data())
    def unsilence(self, data: st.DataObject) -> None:
        """A person ends a silence; one that is over already is not there any more."""
        id_ = data.draw(st.sampled_from(sorted(self.silences)))
        _, until = self.silences.pop(id_)
        outcome = self._order("unsilence", silence_id=id_)
        assert outcome == ("accepted" if self.now < until else "refused")

    @precondition(lambda self: any(m.events for m in self.models.values()))
    @rule(data=st.data(), command=st.sampled_from(["ack", "resolve"]))
    def order(self, data: st.DataObject, command: str) -> None:
        """A person takes or ends an incident, whatever its state."""
        names = [name for name, model in self.models.items() if model.events]
        model = self.models[data.draw(st.sampled_from(names))]
        may = model.is_told_open and not (command == "ack" and model.is_taken)
        if may and command == "ack":
            model.is_taken = True
        elif may:
            model.is_ended_by_person = model.is_firing
        outcome = self._order(command, incident_id=model.events[0]["incident_id"])
        assert outcome == ("accepted" if may else "refused")

    @rule()
    def restart(self) -> None:
        """The state goes to disk and back."""
        saved = json.loads(json.dumps(self.task.snapshot()))
        self.task = IncidentTask.restore(SETTINGS, TOPOLOGY, saved)

    # --- what must follow

    def _is_silenced(self, name: str) -> bool:
        return any(n == name and self.now < until for n, until in self.silences.values())

    def _pass(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self._step([])

    def _send(self, name: str) -> None:
        model = self.models[name]
        model.version += 1
        model.first = model.first or self.now
        state = alert("odd_kind", name) | {
            "version": model.version,
            "state": "FIRING" if model.is_firing else "RESOLVED",
            "firing_since": model.since * SECOND,
            "last_seen": self.now * SECOND,
        }
        self._step([state])

    def _order(self, command: str, **fields: Any) -> str:
        base = {"command": command, "command_id": f"c{self.orders}", "actor": "k", "reason": "so"}
        self.orders += 1
        return self._step([base | fields])

    def _step(self, records: list[dict[str, Any]]) -> str:
        outcome = ""
        before = {name: model.is_told_open for name, model in self.models.items()}
        for output in self.task.step(records, self.now * SECOND, True):
            if output.topic_kind == "incidents":
                self._hear(output.record)
            elif output.topic_kind == "audit":
                outcome = output.record["dimensions"]["outcome"]
        for name, model in self.models.items():
            self._judge(name, model, before[name])
        return outcome

    def _hear(self, event: dict[str, Any]) -> None:
        """Take an event in, and hold it against those before."""
        model = self.models[event["module"]]
        assert event["version"] == len(model.events) + 1
        name, was_open = event["event"], model.is_told_open
        assert (name == "OPENED") == (not model.events)
        assert name == "OPENED" or was_open == (name != "REOPENED")
        assert not model.events or event["incident_id"] == model.events[0]["incident_id"]
        if name in ("OPENED", "REOPENED"):
            model.is_taken = model.is_escalated = False
            model.told_at = self.now
        if event["reason"] == "escalated":
            assert not model.is_taken
            assert not model.is_escalated
            assert self.now - model.told_at >= ESCALATE
            model.is_escalated = True
        if event["reason"] == "flapping":
            assert model.penalty(self.now)[0] >= 3_000
        model.events.append(event)

    def _judge(self, name: str, model: Model, was_open: bool) -> None:
        """Hold what people believe against what is so."""
        if model.first is None or self.now < model.first + HOLD:
            return
        penalty, is_damped = model.penalty(self.now)
        is_silenced = self._is_silenced(name)
        is_audible = model.is_firing and not is_silenced and not is_damped
        if is_audible and not model.is_ended_by_person:
            assert model.is_told_open, (name, self.now, penalty)
        if is_audible and model.is_told_open and self.now - model.told_at >= ESCALATE:
            assert model.is_taken or model.is_escalated
        if model.is_told_open and not was_open:
            assert not is_silenced or not model.is_firing, "a silenced alert was told"
            assert len(model.events) == 1 or not is_damped, "a damped alert was told again"
        if not model.is_firing and not is_damped and self.now - model.ended > QUIET + HOLD:
            assert not model.is_told_open, "it is long over"
        if model.is_firing and was_open and not model.is_ended_by_person:
            assert model.is_told_open, "it fires, and was told to be over"

    @invariant()
    def the_books_balance(self) -> None:
        """Every alert state is counted once, in the ledger and in its incident."""
        if not hasattr(self, "task"):
            return
        state = self.task.book.state
        booked = sum(row.alerts for row in state.ledger.rows.values())
        held = sum(len(waiting.seen) for waiting in state.waiting.values())
        assert booked + held == sum(model.version for model in self.models.values())
        for incident in (*state.open.values(), *state.resolved.values()):
            assert 0 <= incident.alerts_suppressed <= incident.alerts_in


Life.TestCase.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestLife = Life.TestCase
