"""News of incidents: nothing material waits for longer than it may, and nothing comes sooner twice.

Whatever alerts begin, worsen, spread and end, in whatever order they come within a step and with a
restart after each step, people hear the same.
"""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.alerts.finding import SEVERITIES
from streams.core.incidents.book import IncidentBook
from streams.core.incidents.incident import Incident
from streams.core.incidents.news import has_another_cause
from streams.core.incidents.record import place_of
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import DampingSettings, IncidentSettings
from streams.engine.incidents import IncidentTask
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

UPDATE, REFRESH, HOLD, STEADY = 6, 25, 1, 4
SETTINGS = IncidentSettings(
    relations=RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND),
    damping=DampingSettings(half_life_us=0),
    quiet_us=4 * SECOND,
    reopen_us=30 * SECOND,
    hold_us=HOLD * SECOND,
    update_us=UPDATE * SECOND,
    steady_us=STEADY * SECOND,
    refresh_us=REFRESH * SECOND,
)
PLACES = (
    ("module_silent", "ALPHA"),
    ("module_silent", "BETA"),
    ("metric_rate", "BETA"),
    ("module_silent", "GAMMA"),
    ("fidelity_burn", "quality_scoring>transfer_beta_gamma"),
    ("fidelity_burn", "transfer_beta_gamma>rendering"),
)
WORST = SEVERITIES[-1]
Step = list[dict[str, Any]]


@st.composite
def runs(draw: st.DrawFn) -> list[Step]:
    """Return the states that come in each second: alerts begin, worsen, go on and end."""
    versions, since = [0] * len(PLACES), [0] * len(PLACES)
    steps: list[Step] = []
    for now in range(10, 10 + draw(st.integers(5, 40))):
        step: Step = []
        for number in sorted(draw(st.sets(st.integers(0, len(PLACES) - 1), max_size=2))):
            is_ending = bool(since[number]) and draw(st.integers(0, 3)) == 0
            since[number] = since[number] or now
            versions[number] += 1
            state = alert(
                *PLACES[number],
                since[number],
                last=now,
                version=versions[number],
                state="RESOLVED" if is_ending else "FIRING",
                severity=draw(st.sampled_from(SEVERITIES)),
                count=draw(st.integers(1, 5_000)),
            )
            since[number] = 0 if is_ending else since[number]
            step.append(state)
        steps.append(step)
    return steps


def play(steps: list[Step], *, is_judged: bool, seed: int | None = None) -> list[dict[str, Any]]:
    """Return what is told of a run.

    Args:
        steps: what comes in each second.
        is_judged: hold the book against the laws after each step.
        seed: shuffle each step by it, and restart after each; None for neither.
    """
    task, random = IncidentTask(SETTINGS, TOPOLOGY), Random(seed)
    told: list[dict[str, Any]] = []
    last: dict[str, tuple[int, dict[str, Any]]] = {}
    for now, step in enumerate([*steps, *([] for _ in range(REFRESH + 2))], 10):
        found = random.sample(step, len(step)) if seed is not None else step
        for output in task.step(found, now * SECOND, True):
            if output.topic_kind != "incidents":
                continue
            event = output.record
            if is_judged:
                judge_event(event, now, last.get(event["incident_id"]))
            last[event["incident_id"]] = (now, event)
            told.append(event)
        if is_judged:
            for incident in task.book.open.values():
                if incident.version and not incident.resolved_us and incident.firing:
                    judge_incident(incident, now, *last[incident.incident_id])
        if seed is not None:
            saved = json.loads(json.dumps(task.snapshot()))
            task = IncidentTask.restore(SETTINGS, TOPOLOGY, saved)
    return told


def judge_event(event: dict[str, Any], now: int, before: tuple[int, dict[str, Any]] | None) -> None:
    """An update is told the update time after the event before, or is of the worst severity."""
    if event["event"] != "UPDATED":
        return
    assert before is not None
    at, known = before
    has_become_worst = event["severity"] == WORST != known["severity"]
    assert now - at >= UPDATE or (has_become_worst and event["reason"] == "worse")
    assert event["alerts_firing"], "the end would have told it"


def judge_incident(incident: Incident, now: int, at: int, known: dict[str, Any]) -> None:
    """Nobody waits too long for what is material; what is not is told within the refresh time."""
    began = max(member.alert["firing_since"] for member in incident.members.values())
    is_growing = now * SECOND - began < STEADY * SECOND
    longest = 2 * UPDATE if is_growing else UPDATE
    if incident.severity != known["severity"]:
        assert incident.severity != WORST
        assert now - at < longest
    named = {*known["blast_radius"]["modules"], *known["blast_radius"]["downstream"]}
    if incident.modules - named:
        assert now - at < longest
    if set(incident.members) - {one["fingerprint"] for one in known["alerts"]}:
        assert now - at < REFRESH


def unusual(bits: dict[str, float], now: int) -> dict[str, Any]:
    """Return a record of evidence: one series of each module, as unusual as it is just now."""
    row = {
        "kind": "METRIC_SHIFT", "component": "", "name": "cpu_percent", "from_stage": "",
        "to_stage": "", "since": 10 * SECOND, "score": 9.0, "weight": 1.0, "trace_ids": [],
    }  # fmt: skip
    signs = [row | {"module": m, "bits": b, "sentence": f"{m} {b}"} for m, b in bits.items()]
    return {"evidence": signs, "at": now * SECOND}


def judge_causes(book: IncidentBook, place: dict[str, str]) -> None:
    """What was told last is what the alerts and all evidence say now."""
    for incident in book.open.values():
        if incident.version and not incident.resolved_us and incident.audible:
            state = book.state
            assert not has_another_cause(incident, state.partition, state.rank)
            assert incident.told_cause.partition("|")[2] == place[incident.incident_id]


MODULES = ("ALPHA", "BETA", "GAMMA", "INTEGRATION")
SIGNS = st.dictionaries(st.sampled_from(MODULES), st.sampled_from([2.0, 6.0, 20.0]))


@given(runs(), st.dictionaries(st.integers(10, 60), SIGNS, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_cause_that_was_told_is_what_all_evidence_says(
    steps: list[Step], changes: dict[int, dict[str, float]]
) -> None:
    """Whether it came before the last alert or long after; no two updates are closer for it."""
    task, bits = IncidentTask(SETTINGS, TOPOLOGY), dict.fromkeys(MODULES, 2.0)
    last: dict[str, tuple[int, dict[str, Any]]] = {}
    for now, step in enumerate([*steps, *([] for _ in range(60))], 10):
        bits |= changes.get(now, {})
        for output in task.step([*step, unusual(bits, now)], now * SECOND, True):
            if output.topic_kind == "incidents":
                judge_event(output.record, now, last.get(output.record["incident_id"]))
                last[output.record["incident_id"]] = (now, output.record)
    places = {id_: place_of(event["causes"]) for id_, (_, event) in last.items()}
    judge_causes(task.book, places)


@given(runs())
@settings(max_examples=30, deadline=None)
def test_news_are_told_in_time_and_together(steps: list[Step]) -> None:
    """Severity and blast radius never wait for longer than they may, and updates keep apart."""
    play(steps, is_judged=True)


@given(runs(), st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_order_within_a_step_and_restarts_change_no_news(steps: list[Step], seed: int) -> None:
    """The same is told of the same alerts, whichever comes first and whoever takes over."""
    assert play(steps, is_judged=False, seed=seed) == play(steps, is_judged=False)
