"""Requests: where they may go, what an answer means, and what is never said."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from streams.notify.http import Attempt, HttpClient
from tests.unit.notify.receiver import Got, Receiver, receiving
from tests.unit.notify.targets import target

PUBLIC = "93.184.215.14"
NETWORKS = ("127.0.0.0/8",)


def post(
    answer: Callable[[Got], web.StreamResponse] | None = None,
    url: str = "http://{host}:{port}/hook",
    host: str = "127.0.0.1",
    delay_seconds: float = 0.0,
    **changed: Any,
) -> tuple[Attempt, Receiver]:
    """Return how a post to a receiver on the loopback went, and the receiver."""

    async def run() -> tuple[Attempt, Receiver]:
        async with receiving() as receiver:
            receiver.answer = answer or receiver.answer
            receiver.delay_seconds = delay_seconds
            async with HttpClient(target(**changed)) as client:
                where = url.format(host=host, port=receiver.port)
                attempt = await client.post(where, b"{}", {"x-key": "secret-value"})
        return attempt, receiver

    return asyncio.run(run())


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names lead to addresses: to the first list at the first look-up, and so on."""
    asked: list[str] = []
    left = list(answers)

    async def getaddrinfo(_loop: Any, host: str, port: int, **_options: Any) -> list[Any]:
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        kinds = [(socket.AF_INET6 if ":" in a else socket.AF_INET) for a in addresses]
        return [
            (
                kind,
                socket.SOCK_STREAM,
                6,
                "",
                (a, port) if kind == socket.AF_INET else (a, port, 0, 0),
            )
            for a, kind in zip(addresses, kinds, strict=True)
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def test_a_receiver_that_takes_it_is_told_once() -> None:
    """Body and headers arrive; the answer's time and address are known."""
    attempt, receiver = post()
    assert (attempt.outcome, attempt.status, attempt.address) == ("delivered", 200, "127.0.0.1")
    (got,) = receiver.got
    assert got.body == b"{}"
    assert got.headers["x-key"] == "secret-value"
    assert "Cookie" not in got.headers


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254", "10.0.0.1",
     "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", "100.64.0.1"],
)  # fmt: skip
def test_a_private_address_is_refused_in_every_spelling(host: str) -> None:
    """Nothing is connected to: loopback, link-local, private, mapped, NAT64 and 6to4 alike."""
    attempt, receiver = post(host=host, allow_networks=[])
    assert attempt.outcome == "misconfigured"
    assert "not public" in attempt.why
    assert "allow_networks" in attempt.why
    assert receiver.got == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_to_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """What counts is the address that is connected to, not the name."""
    names(monkeypatch, [address])
    attempt, receiver = post(host="hooks.example.org", allow_networks=[])
    assert attempt.outcome == "misconfigured"
    assert "hooks.example.org is at" in attempt.why
    assert receiver.got == []


def test_a_name_that_changes_its_mind_is_judged_at_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: a first answer that may be called does not vouch for a second."""
    asked = names(monkeypatch, ["127.0.0.1"], ["127.9.9.9"])

    async def run() -> tuple[list[Attempt], int]:
        async with receiving() as receiver:
            receiver.answer = lambda _got: web.Response(headers={"Connection": "close"})
            async with HttpClient(target(allow_networks=["127.0.0.1/32"])) as client:
                url = f"http://hooks.example.org:{receiver.port}/hook"
                attempts = [await client.post(url, b"{}", {}) for _ in range(2)]
        return attempts, len(receiver.got)

    attempts, taken = asyncio.run(run())
    assert [attempt.outcome for attempt in attempts] == ["delivered", "misconfigured"]
    assert taken == 1
    assert len(asked) == 2


def test_a_redirect_is_not_followed() -> None:
    """Not to a private address, nor anywhere; it needs a person."""
    for status in (301, 302, 303, 307, 308):
        elsewhere = web.Response(status=status, headers={"Location": "http://169.254.169.254/"})
        attempt, receiver = post(lambda _got, elsewhere=elsewhere: elsewhere)  # type: ignore[misc]
        assert attempt.outcome == "misconfigured"
        assert "redirect" in attempt.why
        assert len(receiver.got) == 1


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect for us to where we may not."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    attempt, _ = post()
    assert attempt.outcome == "delivered"


def test_a_receiver_that_does_not_answer_in_time_has_failed() -> None:
    """It may have taken the event: it will be told again, under the same id."""
    attempt, _ = post(delay_seconds=1.0, timeout_seconds=0.2)
    assert attempt.outcome == "failed"
    assert "within 0.2 s" in attempt.why


def test_an_answer_is_read_up_to_its_bound() -> None:
    """A megabyte of answer costs no memory, and the status still counts."""
    attempt, _ = post(lambda _got: web.Response(body=b"x" * (1 << 20)), response_bytes_max=100)
    assert attempt.outcome == "delivered"
    assert len(attempt.answer) <= 100


def test_a_port_that_nobody_listens_on_has_failed() -> None:
    """Away is away: it is tried again."""

    async def run() -> Attempt:
        async with HttpClient(target()) as client:
            return await client.post("http://127.0.0.1:1/hook", b"{}", {})

    attempt = asyncio.run(run())
    assert attempt.outcome == "failed"
    assert "cannot connect to 127.0.0.1" in attempt.why


def test_patience_that_is_asked_for_is_passed_on() -> None:
    """429 with Retry-After."""
    busy = web.Response(status=429, headers={"Retry-After": "30"})
    attempt, _ = post(lambda _got: busy)
    assert (attempt.outcome, attempt.retry_after_us) == ("failed", 30_000_000)


def test_no_message_holds_more_of_a_url_than_its_host() -> None:
    """A path or a query is often the secret itself."""
    failing: list[Coroutine[Any, Any, Attempt]] = []

    async def run() -> list[Attempt]:
        async with HttpClient(target(allow_networks=[])) as closed, HttpClient(target()) as open_:
            for client in (closed, open_):
                for url in (
                    "http://127.0.0.1:1/s3cret?token=s3cret",
                    "https://127.0.0.1:1/s3cret",
                    "http://nowhere.invalid/s3cret",
                    "http:///s3cret",
                    "http://[s3cret/",
                ):
                    failing.append(client.post(url, b"s3cret", {"authorization": "s3cret"}))
            return [await one for one in failing]

    for attempt in asyncio.run(run()):
        assert attempt.outcome != "delivered"
        assert "s3cret" not in repr(attempt)
