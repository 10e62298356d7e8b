"""Senders against receivers on the loopback: forms, signatures, and replicas that come and go."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from streams.notify.secrets import Credentials, read_credentials
from streams.notify.senders import AlertmanagerSender, HttpSender, TopicSender
from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import Link
from tests.notify_events import incident
from tests.unit.notify.receiver import Receiver, receiving
from tests.unit.notify.targets import notify, target

NOW = 1_800_000_000_000_000


def sent(receiver: Receiver) -> list[Any]:
    """Return the bodies that a receiver got."""
    return [json.loads(got.body) for got in receiver.got]


@pytest.mark.parametrize(
    ("changed", "content_type", "key"),
    [
        ({}, "application/json", "incident"),
        ({"format": "slack"}, "application/json", "text"),
        ({"format": "pagerduty", "routing_key": {"env": "KEY"}}, "application/json", "dedup_key"),
        ({"kind": "cloudevents"}, "application/cloudevents+json; charset=utf-8", "specversion"),
    ],
)
def test_each_kind_is_sent_in_its_form(
    changed: dict[str, Any], content_type: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its content type, an idempotency key, and a signature where there is a key."""
    monkeypatch.setenv("KEY", "0123456789abcdef")
    signing = [{"key_id": "k1", "secret": {"env": "KEY"}}]

    async def run() -> Receiver:
        async with receiving() as receiver:
            one = target(**{"url": receiver.url, "signing": signing, **changed})
            async with HttpSender(notify(one), one, read_credentials(one, ())) as sender:
                attempt = await sender.send(incident())
        assert attempt.outcome == "delivered"
        return receiver

    receiver = asyncio.run(run())
    (got,) = receiver.got
    headers = {name.lower(): text for name, text in got.headers.items()}
    assert headers["content-type"] == content_type
    assert headers["idempotency-key"] == f"{'a' * 32}-1"
    assert headers["webhook-key-id"] == "k1"
    assert key in json.loads(got.body)


def test_a_topic_that_is_not_there_is_told_and_not_made() -> None:
    """Whoever wants it makes it, with partitions of their choice."""
    one = target("cloudevents", topic="incidents.cloudevents.v1", timeout_seconds=10.0)

    async def run(link: Link) -> tuple[str, str]:
        async with TopicSender(notify(one), one, link) as sender:
            attempt = await sender.send(incident())
        return attempt.outcome, attempt.why

    with EmbeddedBroker() as broker:
        outcome, why = asyncio.run(run(Link.plain(broker.address)))
        there = topics.partition_counts(topics.admin({"bootstrap.servers": broker.address}))
    assert outcome == "misconfigured"
    assert "incidents.cloudevents.v1" in why
    assert there == {}


def both(first: Receiver, second: Receiver, clock: list[int]) -> AlertmanagerSender:
    """Return a sender to two replicas with a clock that the test sets."""
    urls = [f"http://127.0.0.1:{one.port}" for one in (first, second)]
    one = target("alertmanager", urls=urls, resend_seconds=60.0)
    credentials = Credentials(tuple(urls))
    return AlertmanagerSender(notify(one), one, credentials, clock=lambda: clock[0])


def test_one_replica_is_enough_and_the_other_hears_of_it_again() -> None:
    """A replica that is away is neither waited for nor forgotten."""

    async def run() -> tuple[Receiver, Receiver]:
        clock = [NOW]
        async with receiving() as well, receiving() as ill:
            is_ill = True
            ill.answer = lambda _got: web.Response(status=503 if is_ill else 200)
            async with both(well, ill, clock) as sender:
                assert (await sender.send(incident())).outcome == "delivered"
                while not any(sender.replicas().values()):
                    await asyncio.sleep(0.01)
                assert (await sender.send(incident(version=2, event="UPDATED"))).status == 200
                assert len(ill.got) == 1, "it is away: only `again` asks it"
                is_ill = False
                await sender.again()
                assert not any(sender.replicas().values())
                await sender.again()  # its time has not come again
                assert len(ill.got) == 2
                clock[0] += 61_000_000
                await sender.again()
                assert len(ill.got) == 3
        return well, ill

    well, ill = asyncio.run(run())
    assert {got.path for got in well.got + ill.got} == {"/api/v2/alerts"}
    assert [alerts[0]["annotations"]["version"] for alerts in sent(ill)] == ["1", "2", "2"]


def test_when_no_replica_takes_it_the_event_is_not_told() -> None:
    """The outbox keeps it."""

    async def run() -> None:
        async with receiving() as one, receiving() as two:
            for receiver in (one, two):
                receiver.answer = lambda _got: web.Response(status=500)
            async with both(one, two, [NOW]) as sender:
                for _ in range(2):
                    assert (await sender.send(incident())).outcome == "failed"
                assert len(two.got) == 2, "all are tried when all are away"

    asyncio.run(run())


def test_no_older_word_overtakes_a_newer_one() -> None:
    """A resolve that waits behind a repeat is said after it, and the repeat after that ends too."""

    async def run() -> Receiver:
        async with receiving() as one, receiving() as two, both(one, two, [NOW]) as sender:
            sender.note(incident())
            one.delay_seconds = 0.2
            again = asyncio.create_task(sender.again())
            await asyncio.sleep(0.05)
            await sender.send(incident(version=2, event="RESOLVED"))
            await again
        return one

    one = asyncio.run(run())
    ends = [alerts[0]["endsAt"] for alerts in sent(one)]
    assert ends[0] > ends[1], "active first, then over"


def test_a_forgotten_book_says_nothing_again() -> None:
    """After another process had the target, what we knew may be over."""

    async def run() -> int:
        async with receiving() as one, receiving() as two:
            async with both(one, two, [NOW]) as sender:
                await sender.send(incident())
                sender.forget()
                await sender.again()
            return len(one.got)

    assert asyncio.run(run()) == 1
