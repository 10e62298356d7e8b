"""How each kind of target is told of one event.

Owns the way from an incident to requests; what a request means is `http.py`'s, what is written is
the rules'. Invariant: `send` never raises for what a receiver does, and says what happened.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.contract.notify import Notify, Target
from streams.notify.http import Attempt, HttpClient
from streams.notify.rules import forms
from streams.notify.rules.alertmanager import PATH, AlertBook, Lease, alert_of
from streams.notify.rules.book import Incident
from streams.notify.rules.payload import delivery_id
from streams.notify.rules.retry import Outcome
from streams.notify.rules.signing import signed_headers
from streams.notify.secrets import Credentials
from streams.runtime.clock import wall_us
from streams.runtime.link import MAKES_NO_TOPICS, Link, open_client
from streams.units import SECOND_US

TEST_ALERT_US: Final = 60 * SECOND_US
_POLL_SECONDS: Final = 0.1
_PROPAGATION_SHARE: Final = 0.5
"""Of the time for an event, how long its topic may be unknown: beyond that it is not there, which
a person has to mend, while a broker that is away mends itself."""


class Sender(Protocol):
    """Tells one target; used in an `async with` statement."""

    async def __aenter__(self) -> Self:
        """Open what it needs."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""

    async def send(self, event: Incident, is_test: bool = False) -> Attempt:
        """Tell an event; at most as long as the target's timeout."""

    def note(self, event: Incident) -> None:
        """Take note of an event that is told, or was told before a restart."""

    def forget(self) -> None:
        """Forget all that was noted: it is read again."""

    async def again(self) -> None:
        """Say again what must be, if its time has come."""

    def replicas(self) -> dict[str, str]:
        """Return why each replica did not take the last request, "" where it did."""


def make_sender(notify: Notify, target: Target, credentials: Credentials, link: Link) -> Sender:
    """Return the sender of a target."""
    if target.kind == "alertmanager":
        return AlertmanagerSender(notify, target, credentials)
    if target.topic is not None:
        return TopicSender(notify, target, link)
    return HttpSender(notify, target, credentials)


class _Quiet:
    """A sender without a memory."""

    def note(self, event: Incident) -> None:
        """Take note of nothing."""

    def forget(self) -> None:
        """Forget nothing."""

    async def again(self) -> None:
        """Say nothing again."""

    def replicas(self) -> dict[str, str]:
        """Return nothing: there is one receiver."""
        return {}


class HttpSender(_Quiet):
    """A webhook, or CloudEvents over HTTP: one event, one request."""

    def __init__(self, notify: Notify, target: Target, credentials: Credentials) -> None:
        self._notify, self._target, self._credentials = notify, target, credentials
        self._client = HttpClient(target)

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *why: Any) -> None:
        """Close the client."""
        await self._client.__aexit__(*why)

    async def send(self, event: Incident, is_test: bool = False) -> Attempt:
        """Post an event."""
        body, content_type = self._body(event, is_test)
        keys = self._credentials.keys
        signed = signed_headers(delivery_id(event), body, keys, wall_us() // SECOND_US)
        headers = {**self._credentials.headers, **signed, "content-type": content_type}
        return await self._client.post(self._credentials.urls[0], body, headers)

    def _body(self, event: Incident, is_test: bool) -> tuple[bytes, str]:
        page = self._notify.page_url
        if self._target.kind == "cloudevents":
            body = forms.cloudevent(event, page, self._notify.source, is_test)
            return body, forms.CLOUDEVENTS_JSON
        if self._target.format == "slack":
            return forms.slack(event, page, is_test), forms.JSON
        if self._target.format == "pagerduty":
            key = self._credentials.routing_key
            return forms.pagerduty(event, page, key, is_test), forms.JSON
        return forms.webhook(event, page, is_test), forms.JSON


class TopicSender(_Quiet):
    """CloudEvents to a Kafka topic, keyed by incident: the binding's structured mode."""

    def __init__(self, notify: Notify, target: Target, link: Link) -> None:
        self._notify, self._target, self._link = notify, target, link
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        """Open the producer."""
        timeout_ms = int(self._target.timeout_seconds * 1000)
        self._producer = open_client(
            Producer,
            {
                **self._link.librdkafka(),
                **MAKES_NO_TOPICS,
                "enable.idempotence": True,
                "message.timeout.ms": timeout_ms,
                "topic.metadata.propagation.max.ms": int(timeout_ms * _PROPAGATION_SHARE),
                "linger.ms": 0,
                "log_level": 0,
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the producer go; what it had not sent is told again by the next start."""
        self._producer.purge()
        self._producer = None

    async def send(self, event: Incident, is_test: bool = False) -> Attempt:
        """Produce an event and wait for the broker's word."""
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        heard: list[KafkaError | None] = []
        value = forms.cloudevent(event, self._notify.page_url, self._notify.source, is_test)
        try:
            self._producer.produce(
                self._target.topic,
                value,
                event["incident_id"].encode(),
                headers={"content-type": forms.CLOUDEVENTS_JSON},
                on_delivery=lambda error, _message: heard.append(error),
            )
        except (KafkaException, BufferError) as error:
            said = error.args[0]
            word = said.str() if isinstance(said, KafkaError) else str(said)
            return Attempt("failed", f"topic {self._target.topic}: {word}")
        while not heard:
            await loop.run_in_executor(None, self._producer.poll, _POLL_SECONDS)
        seconds = time.monotonic() - began
        return Attempt(*_of_broker(heard[0], str(self._target.topic)), seconds=seconds)


def _of_broker(error: KafkaError | None, topic: str) -> tuple[Outcome, str]:
    if error is None:
        return "delivered", ""
    why = f"topic {topic}: {error.str()}"
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD):
        return "refused", why
    if error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
    ):
        return "misconfigured", why
    return "failed", why


@dataclass(slots=True)
class _Replica:
    """One Alertmanager: a request at a time, so that no older word overtakes a newer one."""

    name: str
    url: str
    client: HttpClient
    lock: asyncio.Lock
    again_us: int = 0
    why: str = ""


class AlertmanagerSender:
    """All replicas of an Alertmanager; an event is told when one of them took it.

    The others hear of it again and again: what is active, and for a while what has ended.
    """

    def __init__(
        self,
        notify: Notify,
        target: Target,
        credentials: Credentials,
        clock: Callable[[], int] = wall_us,
    ) -> None:
        lease = Lease(
            resend_us=int(target.resend_seconds * SECOND_US),
            active_us=int(target.active_seconds * SECOND_US),
            resolved_us=int(target.resolved_seconds * SECOND_US),
        )
        self._page = notify.page_url
        self._headers = {**credentials.headers, "content-type": forms.JSON}
        self._lease = lease
        self._clock = clock
        self._stack = AsyncExitStack()
        self._posts: set[asyncio.Task[Attempt]] = set()
        self._book = AlertBook(notify.page_url, lease)
        self._replicas = [
            _Replica(_name(url), url.rstrip("/") + PATH, HttpClient(target), asyncio.Lock())
            for url in credentials.urls
        ]

    async def __aenter__(self) -> Self:
        """Open the clients."""
        for replica in self._replicas:
            await self._stack.enter_async_context(replica.client)
        return self

    async def __aexit__(self, *why: Any) -> None:
        """Let the posts under way end, and close the clients."""
        if self._posts:
            await asyncio.wait(self._posts)
        await self._stack.__aexit__(*why)

    async def send(self, event: Incident, is_test: bool = False) -> Attempt:
        """Tell an event to the replicas that are there; to all of them when it is a test."""
        if not is_test:
            self._book.note(event, self._clock())

        def alerts() -> list[Any]:
            if is_test:
                return [alert_of(event, self._page, self._clock() + TEST_ALERT_US, is_test=True)]
            return self._book.alerts_of(event["incident_id"], self._clock())

        # One that is away is left to `again`: to wait for it would hold every event up.
        asked = [one for one in self._replicas if not one.why] or self._replicas
        asked = self._replicas if is_test else asked
        tasks = [asyncio.create_task(self._post(one, alerts)) for one in asked]
        self._posts.update(tasks)
        for task in tasks:
            task.add_done_callback(self._posts.discard)
        attempts = []
        for done in asyncio.as_completed(tasks):
            attempt = await done
            attempts.append(attempt)
            if attempt.outcome == "delivered" and not is_test:
                return attempt
        order: tuple[Outcome, ...] = ("delivered", "failed", "misconfigured", "refused")
        return min(attempts, key=lambda attempt: order.index(attempt.outcome))

    async def _post(self, replica: _Replica, alerts: Callable[[], list[Any]]) -> Attempt:
        async with replica.lock:
            attempt = await replica.client.post(replica.url, forms.dump(alerts()), self._headers)
        replica.why = attempt.why
        return attempt

    def note(self, event: Incident) -> None:
        """Take an incident up: from here on nobody says an earlier version of it."""
        self._book.note(event, self._clock())

    def forget(self) -> None:
        """Forget all incidents."""
        self._book = AlertBook(self._page, self._lease)

    async def again(self) -> None:
        """Say again to each replica what is active or has just ended, when its time has come."""
        await asyncio.gather(*(self._again(replica) for replica in self._replicas))

    async def _again(self, replica: _Replica) -> None:
        if self._clock() < replica.again_us or replica.lock.locked():
            return
        async with replica.lock:
            replica.again_us = self._clock() + self._lease.resend_us
            for alerts in self._book.again(self._clock()):
                attempt = await replica.client.post(replica.url, forms.dump(alerts), self._headers)
                replica.why = attempt.why
                if attempt.outcome != "delivered":
                    # Soon again: a replica that comes back should not wait a whole round.
                    replica.again_us = self._clock() + self._lease.resend_us // 6
                    return

    def replicas(self) -> dict[str, str]:
        """Return why each replica did not take the last request, "" where it did."""
        return {replica.name: replica.why for replica in self._replicas}


def _name(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
