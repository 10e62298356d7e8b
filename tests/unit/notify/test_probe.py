"""A test incident says where its way ends."""

import asyncio
import json

from aiohttp import web

from streams.codec.records import decode, encode
from streams.contract.notify import Target
from streams.notify.probe import TEST_INCIDENT, Report, example_incident, probe
from streams.notify.rules.forms import cloudevent, pagerduty, slack, webhook
from streams.notify.secrets import Credentials
from streams.runtime.link import Link
from tests.unit.notify.receiver import Receiver, receiving
from tests.unit.notify.targets import notify, target

LINK = Link.plain("127.0.0.1:1")


def tried(one: Target, url: str, status: int = 200) -> tuple[Report, Receiver]:
    """Return what is said of a target whose receiver answers with a status."""

    async def run() -> tuple[Report, Receiver]:
        async with receiving() as receiver:
            receiver.answer = lambda _got: web.Response(status=status, text="its words")
            where = url.format(port=receiver.port)
            credentials = Credentials((where,), routing_key="key")
            return await probe(notify(one), one, credentials, LINK), receiver

    return asyncio.run(run())


def said(report: Report) -> dict[str, tuple[bool, str]]:
    """Return the steps by name."""
    return {step.step: (step.ok, step.text) for step in report.steps}


def test_a_target_that_takes_it_shows_all_its_steps() -> None:
    """Name, connection, TLS or its absence, and the answer; the body is marked."""
    report, receiver = tried(target(), "http://127.0.0.1:{port}/hook")
    assert report.ok
    assert list(said(report)) == ["dns", "connect", "tls", "send"]
    assert "delivered, status 200" in said(report)["send"][1]
    assert json.loads(receiver.got[0].body)["is_test"] is True


def test_a_refusal_shows_the_receivers_words() -> None:
    """What it answered is what its owner has to look for."""
    report, _ = tried(target(), "http://127.0.0.1:{port}/hook", status=400)
    assert not report.ok
    assert said(report)["send"] == (False, "refused, status 400: status 400; it said 'its words'")


def test_a_listener_without_tls_is_told_from_one_that_is_away() -> None:
    """Https to a port that speaks http."""
    report, _ = tried(target(), "https://127.0.0.1:{port}/hook")
    assert said(report)["tls"][0] is False
    assert "does not speak TLS" in said(report)["tls"][1]
    report, _ = tried(target(), "http://127.0.0.1:1/hook")
    assert "cannot connect to 127.0.0.1 port 1" in said(report)["connect"][1]


def test_a_closed_network_is_named() -> None:
    """Nothing is connected to."""
    report, receiver = tried(target(allow_networks=[]), "http://localhost:{port}/hook")
    assert said(report)["address"][0] is False
    assert receiver.got == []
    assert not report.ok


def test_a_pagers_test_does_not_stay_open() -> None:
    """A trigger is followed by its resolve, under the same key."""
    one = target(format="pagerduty", routing_key={"env": "KEY"})
    report, receiver = tried(one, "http://127.0.0.1:{port}/hook")
    assert report.ok
    bodies = [json.loads(got.body) for got in receiver.got]
    assert [body["event_action"] for body in bodies] == ["trigger", "resolve"]
    assert {body["dedup_key"] for body in bodies} == {TEST_INCIDENT}


def test_the_test_incident_is_an_incident() -> None:
    """It fits the schema, so every form can be made of it."""
    event = example_incident()
    found = decode(encode("incident_event", event))
    assert {name: found[name] for name in event} == event
    for body in (webhook(event, ""), slack(event, ""), cloudevent(event, "", "/s")):
        assert json.loads(body)
    assert json.loads(pagerduty(event, "", "key"))["payload"]["severity"] == "info"
