"""How the state of the incident task is written: one small entry for each thing that may change.

Owns the layout of the entries. An incident and each of its alerts are entries of their own, so that
a cut costs what changed and not what there is. Invariant: a task made from the entries of another
one answers as that one does.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from streams.core.incidents.commands import Answered
from streams.core.incidents.damping import Flap
from streams.core.incidents.incident import Incident, Member
from streams.core.incidents.ledger import Row, RowKey
from streams.core.incidents.silences import Silence
from streams.core.incidents.state import Gone, State, Waiting

Entry = tuple[str, str, Any]
"""Kind, id, and what is known."""

_DERIVED: Final = ("members", "firing", "audible", "modules", "grown")


def entry(state: State, kind: str, id_: str) -> Any:
    """Return what is known of one thing, JSON-able; None when it is gone."""
    return _READERS[kind](state, id_)


def entries(state: State) -> Iterator[Entry]:
    """Yield everything that there is."""
    for kind, id_ in sorted(everything(state)):
        yield kind, id_, entry(state, kind, id_)


def everything(state: State) -> set[tuple[str, str]]:
    """Return kind and id of everything that there is."""
    found = set()
    for incident in (*state.open.values(), *state.resolved.values()):
        found.add(("incident", incident.incident_id))
        found |= {("member", f"{incident.incident_id}/{print_}") for print_ in incident.members}
    found |= {("waiting", print_) for print_ in state.waiting}
    found |= {("gone", id_) for id_ in state.gone}
    found |= {("silence", id_) for id_ in state.silences}
    found |= {("answered", id_) for id_ in state.answered}
    found |= {("flap", print_) for print_ in state.damper.flaps}
    found |= {("evidence", "")} if state.evidence_us else set()
    return found | {("ledger", ledger_id(key)) for key in state.ledger.rows}


def ledger_id(key: RowKey) -> str:
    """Return the id of a row of the ledger."""
    return json.dumps(key)


def restore(state: State, found: Iterable[Entry]) -> None:
    """Take over entries, in whatever order they come."""
    members = []
    for kind, id_, value in sorted(found, key=lambda one: (one[0], one[1])):
        if kind == "member":
            members.append((id_, value))
        else:
            _WRITERS[kind](state, id_, value)
    for id_, value in members:
        incident_id, _, print_ = id_.partition("/")
        incident = state.open.get(incident_id) or state.resolved[incident_id]
        incident.members[print_] = Member(**value)
    by_age = sorted(state.gone.items(), key=lambda item: (item[1].at_us, item[0]))
    state.gone = dict(by_age)


# --- reading ------------------------------------------------------------------------------------


def _incident(state: State, id_: str) -> dict[str, Any] | None:
    incident = state.open.get(id_) or state.resolved.get(id_)
    if incident is None:
        return None
    row = {
        name: getattr(incident, name)
        for name in Incident.__dataclass_fields__
        if name not in _DERIVED
    }
    return row | {"is_open": id_ in state.open, "damped": sorted(incident.damped)}


def _member(state: State, id_: str) -> dict[str, Any] | None:
    incident_id, _, print_ = id_.partition("/")
    incident = state.open.get(incident_id) or state.resolved.get(incident_id)
    member = incident.members.get(print_) if incident is not None else None
    return _fields(member)


def _fields(value: Any) -> dict[str, Any] | None:
    """Return a dataclass as a mapping; what it holds is not copied."""
    if value is None:
        return None
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _row(state: State, id_: str) -> dict[str, Any] | None:
    key = RowKey(*json.loads(id_))
    row = _fields(state.ledger.rows.get(key))
    return row and row | {"is_unpublished": key in state.ledger.unpublished}


_READERS: Final[Mapping[str, Callable[[State, str], Any]]] = {
    "incident": _incident,
    "member": _member,
    "waiting": lambda state, id_: _fields(state.waiting.get(id_)),
    "gone": lambda state, id_: state.gone.get(id_),
    "silence": lambda state, id_: asdict(state.silences[id_]) if id_ in state.silences else None,
    "answered": lambda state, id_: _fields(state.answered.get(id_)),
    "flap": lambda state, id_: _fields(state.damper.flaps.get(id_)),
    "ledger": _row,
    "evidence": lambda state, _id: [state.evidence_us, state.evidence.rows()],
}


# --- writing ------------------------------------------------------------------------------------


def _put_incident(state: State, id_: str, value: dict[str, Any]) -> None:
    is_open = value.pop("is_open")
    value["damped"] = set(value["damped"])
    value["suppressed"], value["untold"] = Counter(value["suppressed"]), Counter(value["untold"])
    (state.open if is_open else state.resolved)[id_] = Incident(**value)


def _put_row(state: State, id_: str, value: dict[str, Any]) -> None:
    key = RowKey(*json.loads(id_))
    if value.pop("is_unpublished"):
        state.ledger.unpublished.add(key)
    became, events = Counter(value.pop("became")), Counter(value.pop("events"))
    state.ledger.rows[key] = Row(became=became, events=events, **value)


def _put_gone(state: State, id_: str, value: list[Any]) -> None:
    """Take over an incident that is gone; earlier versions did not keep what took it over."""
    state.gone[id_] = Gone(*value)


def _put_silence(state: State, id_: str, value: dict[str, Any]) -> None:
    state.silences[id_] = Silence(**value)


def _put_flap(state: State, id_: str, value: dict[str, Any]) -> None:
    state.damper.flaps[id_] = Flap(**value)


def _put_waiting(state: State, id_: str, value: dict[str, Any]) -> None:
    seen = [tuple(one) for one in value.pop("seen")]
    state.waiting[id_] = Waiting(**value, seen=seen)


def _put_evidence(state: State, _id: str, value: list[Any]) -> None:
    state.evidence_us, rows = value
    state.evidence.take_over(rows)


def _put_answered(state: State, id_: str, value: dict[str, Any] | int) -> None:
    """Take over what was answered; earlier versions kept no more than when."""
    found = {"at_us": value} if isinstance(value, int) else value
    state.answered[id_] = Answered(**found)


_WRITERS: Final[Mapping[str, Callable[[State, str, Any], None]]] = {
    "incident": _put_incident,
    "waiting": _put_waiting,
    "gone": _put_gone,
    "silence": _put_silence,
    "answered": _put_answered,
    "flap": _put_flap,
    "ledger": _put_row,
    "evidence": _put_evidence,
}


# --- what the first version wrote ---------------------------------------------------------------


def restore_first(state: State, snapshot: Mapping[str, Any]) -> None:
    """Take over a whole state of format 1: incidents of algorithm 1, and no more."""
    for name, incidents in (("open", state.open), ("resolved", state.resolved)):
        for row in snapshot[name]:
            incidents[row["incident_id"]] = _first(row, snapshot["algorithm"])
    state.stream_us = state.time_us = int(snapshot["stream_us"])


def _first(row: Mapping[str, Any], algorithm: str) -> Incident:
    members = {
        print_: Member(m["alert"], m["because"], spoke=row["version"] - 1)
        for print_, m in row["members"].items()
    }
    alerts = [member.alert for member in members.values()]
    first = min(alerts, key=lambda a: (a["firing_since"], a["fingerprint"]))
    kept = ("incident_id", "version", "opened_us", "resolved_us", "event_us", "severity")
    return Incident(
        **{name: row[name] for name in kept},
        founder=first["fingerprint"],
        algorithm=algorithm,
        members=members,
        alerts_in=row["alerts_in"],
        suppressed=Counter({"repeated": row["alerts_suppressed"]}),
        told_records=row["told_records"],
        quiet_since_us=row["quiet_since_us"],
        told_us=row["event_us"],
        opened_wall_us=row["opened_us"],
    )
