"""An event fits into its topic, whatever the alerts say."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.codec.records import encode
from streams.core.incidents.bounds import cut, fitting, fitting_labels, fitting_texts, size
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.engine.incidents import IncidentTask
from streams.runtime.keyed_runner import KeyedRunner
from streams.state.segment import PIECE_BYTES_MAX, encode_pieces
from tests.unit.core.incidents.alerts import alert

SECOND = 1_000_000
TOPIC_BYTES_MAX = 1 << 20
TOPOLOGY = Topology({"ALPHA": ModuleInfo("team")})


def noise(random: Random, characters: int) -> str:
    """Return a text that nothing compresses, of four bytes a character."""
    return "".join(chr(random.randrange(0x20000, 0x2A6D0)) for _ in range(characters))


def wordy(random: Random, number: int) -> dict[str, Any]:
    """Return an alert that says in each field the most that an alert from outside may."""
    name = noise(random, 1_024)
    return alert("external", "ALPHA", 10) | {
        "fingerprint": f"{number:032x}",
        "component": noise(random, 1_024),
        "name": name,
        "rule_id": name,
        "owner": noise(random, 1_024),
        "playbook": noise(random, 1_024),
        "explanation": noise(random, 3_072),
        "labels": {
            noise(random, 128): noise(random, 1_024) for _ in range(63 if number < 3 else 1)
        },
        "trace_ids": [noise(random, 1_024)],
        "record_ids": [noise(random, 1_024)],
        "source": "external",
    }


def test_the_wordiest_event_fits_into_its_topic() -> None:
    """With orders, silences and a long history too; the state of it fits into its pieces."""
    random = Random(7)
    task = IncidentTask(IncidentSettings(), TOPOLOGY)
    outputs = task.step([wordy(random, n) for n in range(120)], 11 * SECOND, True)
    (opened,) = (o.record for o in outputs if o.topic_kind == "incidents")
    text = noise(random, 1_024)
    order = {"actor": text, "reason": text, "incident_id": opened["incident_id"]}
    until_us = 3_600 * SECOND
    orders = [
        order | {"command": "silence", "command_id": noise(random, 1_024), "until_us": until_us}
        for _ in range(60)
    ]
    orders.append(order | {"command": "ack", "command_id": "a"})
    outputs = task.step(orders, 12 * SECOND, True)
    outputs += task.step([wordy(random, 500)], 13 * SECOND, True)
    records = [o.record for o in outputs if o.topic_kind == "incidents"]
    assert len(records) >= 2
    for record in (opened, *records):
        assert len(encode("incident_event", record)) < TOPIC_BYTES_MAX
        assert record["alert_count"] >= 120 > len(record["alerts"]) > 5
    assert task.counters()["told_alert_over_bound"] > 0
    segment = KeyedRunner(task, lambda _: task, {})._segment()
    assert max(map(len, encode_pieces(segment, 1, 1))) <= PIECE_BYTES_MAX


def test_usual_alerts_are_all_listed() -> None:
    """A hundred with a paragraph each."""
    alerts = [
        alert("external", "ALPHA", 10) | {"fingerprint": f"{n:032x}", "explanation": "x" * 1_000}
        for n in range(100)
    ]
    (event,) = (
        o.record
        for o in IncidentTask(IncidentSettings(), TOPOLOGY).step(alerts, 11 * SECOND, True)
        if o.topic_kind == "incidents"
    )
    assert len(event["alerts"]) == event["alert_count"] == 100


@given(st.text(max_size=60), st.integers(3, 80))
def test_a_cut_text_fits_and_begins_as_the_whole(text: str, max_bytes: int) -> None:
    """It ends between two characters, and one that fits is left alone."""
    found = cut(text, max_bytes)
    assert size(found) == len(found.encode()) <= max_bytes
    assert text.startswith(found.removesuffix("\u2026"))
    assert (found == text) or size(text) > max_bytes


@given(st.lists(st.text(max_size=9), max_size=9, unique=True), st.integers(0, 90))
def test_the_first_that_fit_are_kept(texts: list[str], max_bytes: int) -> None:
    """As many as fit, and none after the first that does not."""
    found = fitting_texts(texts, max_bytes)
    assert found == texts[: len(found)]
    assert sum(map(size, found)) <= max_bytes
    if len(found) < len(texts):
        assert sum(map(size, texts[: len(found) + 1])) > max_bytes
    labels = fitting_labels(dict.fromkeys(texts, ""), max_bytes)
    assert list(labels) == found
    assert fitting([1, 2], lambda n: n, 2) == [1]
