"""The state of incidents survives its writing, and an upgrade of the grouping regroups nothing."""

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest

from streams.core.incidents.commands import Answered
from streams.core.incidents.damping import Flap
from streams.core.incidents.incident import ALGORITHM, Incident, Member
from streams.core.incidents.ledger import Row
from streams.core.incidents.silences import Silence
from streams.core.incidents.state import Gone, Waiting
from streams.engine.incident_state import _DERIVED
from streams.engine.incidents import _FORMAT as FORMAT
from streams.engine.incidents import ALERT_BYTES_MAX, IncidentTask
from streams.errors import StateError
from tests.synthetic_pipeline import INCIDENTS, SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

HOP = "transfer_beta_gamma>rendering"
SILENT = alert("module_silent", "GAMMA", 10, last=13)
LOSS = alert("fidelity_burn", HOP, 11)
FAR = alert("duplicate_rate", "ALPHA", 11)


def saved(task: IncidentTask) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(task.snapshot()))
    return found


def restore(snapshot: dict[str, Any]) -> IncidentTask:
    return IncidentTask.restore(INCIDENTS, TOPOLOGY, snapshot)


def evidence(at: int, module: str = "GAMMA") -> dict[str, Any]:
    """Return what the causes task tells: a module's processor is busy."""
    item = {
        "kind": "METRIC_SHIFT", "module": module, "component": "", "name": "cpu_percent",
        "from_stage": "", "to_stage": "", "since": at * SECOND, "score": 20.0, "weight": 1.0,
        "bits": 18.0, "sentence": f"{module} is hot", "trace_ids": [],
    }  # fmt: skip
    return {"at": at * SECOND, "evidence": [item]}


def of_first_version(*groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the version before wrote for some open incidents."""
    return {
        "format": 1,
        "algorithm": "1",
        "stream_us": 14 * SECOND,
        "resolved": [],
        "open": [
            {
                "incident_id": f"{number:032x}",
                "version": 1,
                "opened_us": 11 * SECOND,
                "resolved_us": 0,
                "event_us": 11 * SECOND,
                "severity": "ERROR",
                "members": {a["fingerprint"]: {"alert": a, "because": "so"} for a in group},
                "alerts_in": len(group),
                "alerts_suppressed": 0,
                "told": {a["fingerprint"]: 1 for a in group},
                "told_records": 10,
                "quiet_since_us": 0,
            }
            for number, group in enumerate(groups, 1)
        ],
    }


def groups(task: IncidentTask) -> dict[str, set[str]]:
    return {id_: {m.alert["kind"] for m in i.members.values()} for id_, i in task.book.open.items()}


def test_an_upgrade_neither_merges_nor_splits_open_incidents() -> None:
    """What the new rules would put together stays apart, what they would part stays together."""
    task = restore(of_first_version([SILENT], [LOSS, FAR]))
    before = groups(task)
    assert len(before) == 2
    for at in range(3):
        states = [a | {"version": 2 + at, "count": 11 + at} for a in (SILENT, LOSS, FAR)]
        task.step(states, (20 + at) * SECOND, True)
        assert groups(task) == before
        task = restore(saved(task))
    assert {i.algorithm for i in task.book.open.values()} == {"1"}


def test_after_an_upgrade_new_alerts_find_the_open_incidents() -> None:
    """A new alert joins what it is related to; one related to nothing opens by the new rules."""
    task = restore(of_first_version([SILENT]))
    other = alert("clock_skew", "connection>parser", 30, last=31)
    outputs = task.step([LOSS, other], 31 * SECOND, True)
    told = {o.record["incident_id"]: o.record for o in outputs if o.topic_kind == "incidents"}
    assert told[f"{1:032x}"]["algorithm"] == "1"
    assert told[f"{1:032x}"]["kinds"] == ["module_silent", "fidelity_burn"]
    assert {e["algorithm"] for id_, e in told.items() if id_ != f"{1:032x}"} == {ALGORITHM}


def test_changes_together_are_the_whole_state() -> None:
    """Entries by key, the latest of each, less those removed, are what a snapshot holds."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    kept: dict[bytes, bytes] = {}
    order = {"command": "silence", "command_id": "s", "actor": "a", "reason": "r",
             "matcher": {"kind": "clock*"}, "until_us": 40 * SECOND}  # fmt: skip
    steps: list[list[dict[str, Any]]] = [
        [SILENT, LOSS], [order, FAR], [evidence(40)],
        [SILENT | {"version": 2, "state": "RESOLVED"}],
        [LOSS | {"version": 2, "state": "RESOLVED"}, alert("clock_skew", HOP, 30)], [], [],
    ]  # fmt: skip
    for number, records in enumerate(steps):
        task.step(records, (15 + 10 * number) * SECOND, True)
        changes = task.changes()
        for key in changes.removed:
            kept.pop(key, None)
        kept.update(changes.entries)
        whole = saved(task)
        entries = sorted(json.loads(value) for value in kept.values())
        assert [e[:2] for e in entries] == [e[:2] for e in whole["entries"]]
        assert entries == whole["entries"]
        assert task.changes().removed == [], "asked again, nothing has changed"


def test_answers_survive_and_those_of_earlier_versions_are_read() -> None:
    """An id counts once over restarts and an upgrade: earlier versions kept the time alone."""
    ack = {"command": "ack", "actor": "kim", "reason": "r", "command_id": "c", "incident_id": "i"}
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    task.step([ack], 10 * SECOND, True)
    (answer,) = restore(saved(task)).step([ack], 11 * SECOND, True)
    assert answer.record["dimensions"]["refused"] == "there is no such incident"
    assert answer.record["dimensions"]["first_answered_at_us"] == str(10 * SECOND)
    snapshot = saved(task)
    snapshot["entries"] = [
        [kind, id_, value["at_us"] if kind == "answered" else value]
        for kind, id_, value in snapshot["entries"]
    ]
    (answer,) = restore(snapshot).step([ack], 11 * SECOND, True)
    assert "its command_id was used before: give it" in answer.record["dimensions"]["refused"]


def test_what_is_unusual_survives() -> None:
    """A task that restarts ranks as the one before did, and lets the evidence fade as it did."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    task.step([LOSS, evidence(14)], 15 * SECOND, True)
    worse = LOSS | {"version": 2, "severity": "CRITICAL", "last_seen": 40 * SECOND}
    told = [t.step([worse], 40 * SECOND, True)[0].record for t in (restore(saved(task)), task)]
    assert told[0]["causes"] == told[1]["causes"]
    assert "GAMMA is hot" in str(told[0]["causes"])


def test_a_change_of_cause_that_waits_survives() -> None:
    """By the entries that a cut writes: nothing else of it is kept."""
    task = IncidentTask(replace(INCIDENTS, update_us=5 * SECOND), TOPOLOGY)
    task.step([LOSS], 15 * SECOND, True)
    task.changes()
    task.step([evidence(16)], 16 * SECOND, False)
    (incident,) = task.book.open.values()
    assert incident.pending
    written = [json.loads(value) for _, value in task.changes().entries]
    (row,) = [value for kind, _, value in written if kind == "incident"]
    assert row["pending"] == incident.pending


def test_a_format_that_is_not_known_is_refused() -> None:
    """The error says what to do."""
    for later in (FORMAT + 1, 99):
        with pytest.raises(StateError, match=rf"format {later}, .* reads 2 to {FORMAT}. Operator"):
            restore({"format": later})


def test_the_format_says_what_is_kept() -> None:
    """An earlier version takes no field that it does not know: one more is another format.

    With formats of one number an upgrade could not be taken back: the older version ended at a
    field that it could not name, in whichever worker the task came to.
    """
    kept = {
        "incident": names(Incident) - set(_DERIVED), "member": names(Member),
        "waiting": names(Waiting), "gone": set(Gone._fields), "silence": names(Silence),
        "answered": names(Answered), "flap": names(Flap), "ledger": names(Row),
    }  # fmt: skip
    text = json.dumps({kind: sorted(fields) for kind, fields in kept.items()}, sort_keys=True)
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert {FORMAT: found} == {3: "013c26f961076af1"}, f"give this another _FORMAT: {text}"


def names(kept: type[Any]) -> set[str]:
    """Return the fields of a dataclass."""
    return {field.name for field in fields(kept)}


def test_a_state_of_the_format_before_is_written_anew() -> None:
    """What was kept then is enough to go on, and the next cut has all of it in this format."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    task.step([SILENT, LOSS], 15 * SECOND, True)
    before = saved(task) | {"format": 2}
    before["entries"] = [[kind, id_, without_news(value)] for kind, id_, value in before["entries"]]
    again = restore(before)
    assert again.header()["format"] == FORMAT
    assert len(again.changes().entries) == len(before["entries"])
    assert [i.incident_id for i in again.book.open.values()] == [
        i.incident_id for i in task.book.open.values()
    ]


def without_news(value: Any) -> Any:
    """Return an entry as format 2 had it."""
    new = ("told_severity", "has_arrivals", "was_in")
    return {k: v for k, v in value.items() if k not in new} if isinstance(value, dict) else value


@pytest.mark.parametrize("letter", ["x", "\U0002a6d0"])
def test_an_alert_too_large_for_the_state_is_counted(letter: str) -> None:
    """It would not fit into a piece of the changelog, and must not stop the task."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    huge = LOSS | {"explanation": letter * (ALERT_BYTES_MAX // len(letter.encode()) + 1)}
    assert task.step([huge, FAR], 12 * SECOND, True)
    assert task.counters()["alert_too_large"] == 1
    assert len(task.book.open) == 1
