"""HTTP requests to receivers, with a guard on where they really go.

Owns the connection: the address is judged when its socket is made, after the name was looked up
for that very connection, so that no second look-up can lead elsewhere. Redirects are not followed,
proxies of the environment are not used, cookies are not kept, an answer is read up to a bound.

Invariant: neither URL nor header is in a log or a message: a URL may be a secret.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from streams.contract.addresses import address_allowed
from streams.contract.notify import Target
from streams.errors import ConfigError
from streams.notify.rules.retry import Outcome, of_status, retry_after_us
from streams.runtime.clock import wall_us

USER_AGENT: Final = "spanloom-notify"
_SHOWN_CHARACTERS: Final = 200


class ForbiddenAddressError(OSError):
    """The receiver's name leads to an address that its target may not be at."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended.

    Attributes:
        outcome: what it means for the event.
        why: in words for people, "" when it was delivered; never a URL, a header or a secret.
        status: of the answer; 0 for none.
        seconds: it took.
        retry_after_us: patience that the receiver asked for.
        address: that was connected to last; "" for none.
    """

    outcome: Outcome
    why: str = ""
    status: int = 0
    seconds: float = 0.0
    retry_after_us: int = 0
    address: str = ""
    answer: str = field(default="", repr=False)


class Guard:
    """Makes the sockets of a target, and refuses addresses that it may not be at.

    Args:
        networks: closed networks that are open to this target, as CIDR.
    """

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = networks
        self.refused: list[str] = []
        self.last_address = ""

    def make_socket(self, info: Any) -> socket.socket:
        """Return a socket for an address that was resolved.

        Raises:
            ForbiddenAddressError: it may not be connected to.
        """
        family, kind, protocol, _, where = info
        text = str(where[0]).partition("%")[0]
        if not address_allowed(ipaddress.ip_address(text), list(self._networks)):
            self.refused.append(text)
            raise ForbiddenAddressError(f"{text} is not allowed")
        self.last_address = text
        return socket.socket(family=family, type=kind, proto=protocol)


def tls_context(target: Target) -> ssl.SSLContext:
    """Return how the receiver's certificate is checked: always, and its name too.

    Raises:
        ConfigError: `ca_file` cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=target.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        raise ConfigError(
            f"target {target.id}: ca_file {target.ca_file} cannot be used ({reason}): give PEM "
            "certificates"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class HttpClient:
    """The connections of one target; use it in an `async with` statement.

    Args:
        target: whose.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.guard = Guard(target.allow_networks)
        self._tls = tls_context(target)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session; no connection is made yet."""
        connector = aiohttp.TCPConnector(
            ssl=self._tls,
            socket_factory=self.guard.make_socket,
            # A kept name is what rebinding needs; the few requests here can look it up.
            use_dns_cache=False,
            limit=self._target.parallel + 1,
            keepalive_timeout=15,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._target.timeout_seconds),
            headers={"User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # the bound counts the bytes that come
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Send a body and say how it went; never raises for what a receiver does."""
        assert self._session is not None, "used outside its with statement"
        began = time.monotonic()
        refused_before = len(self.guard.refused)
        try:
            async with self._session.post(
                url, data=body, headers=dict(headers), allow_redirects=False
            ) as answer:
                attempt = await self._judge(answer)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            attempt = self._failed(error, url, self.guard.refused[refused_before:])
        del self.guard.refused[:]
        seconds = time.monotonic() - began
        return Attempt(
            attempt.outcome,
            attempt.why,
            attempt.status,
            seconds,
            attempt.retry_after_us,
            self.guard.last_address,
            attempt.answer,
        )

    async def _judge(self, answer: aiohttp.ClientResponse) -> Attempt:
        outcome = of_status(answer.status)
        said = b""
        limit = self._target.response_bytes_max
        try:
            async for piece in answer.content.iter_chunked(8192):
                said += piece[: limit - len(said)]
                if len(said) >= limit:
                    answer.close()  # the rest is not read, nor is the connection used again
                    break
        except (aiohttp.ClientError, OSError, TimeoutError):
            # The status decides: whoever sent 200 took the event, however its answer ended.
            answer.close()
        said_after, date = answer.headers.get("Retry-After"), answer.headers.get("Date")
        patience = retry_after_us(said_after, date, wall_us())
        why = ""
        if outcome != "delivered":
            why = f"status {answer.status}"
            if 300 <= answer.status < 400:
                why += ", a redirect, which is not followed"
        text = said[:_SHOWN_CHARACTERS].decode(errors="replace")
        return Attempt(outcome, why, answer.status, 0.0, patience, "", text)

    def _failed(self, error: Exception, url: str, refused: list[str]) -> Attempt:
        host = host_of(url)
        if refused and not isinstance(error, TimeoutError):
            why = (
                f"{host} is at {', '.join(dict.fromkeys(refused))}, which is not public; add its "
                "network to allow_networks if that is meant"
            )
            return Attempt("misconfigured", why)
        return Attempt(*failure_words(error, host, self._target.timeout_seconds))


def host_of(url: str) -> str:
    """Return the host of an address, all of it that may be shown; "" when it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def failure_words(error: BaseException, host: str, timeout_seconds: float) -> tuple[Outcome, str]:
    """Return what a failure without an answer means, in words that hold no URL."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "failed", f"no answer of {host} within {timeout_seconds:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        said = getattr(inner, "verify_message", "") or type(inner).__name__
        return "misconfigured", f"the certificate of {host} is not trusted: {said}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "misconfigured", f"the certificate of {host} is not trusted: {error.verify_message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "failed", f"the name {host} is not found"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "misconfigured", f"{host} does not speak TLS with us"
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or type(error.os_error).__name__
        return "failed", f"cannot connect to {host}: {reason}"
    if isinstance(error, aiohttp.InvalidURL):
        return "misconfigured", "the url is no address"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "failed", f"{host} closed the connection"
    return "failed", f"{host}: {type(error).__name__}"
