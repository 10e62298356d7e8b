"""OAUTHBEARER tokens: from a file that somebody else renews, or from an endpoint by our own secret.

Owns the token of aiokafka, and that of librdkafka where it comes from a file; librdkafka asks an
endpoint by itself. A token is kept until shortly before it ends, and asked for with a bound on time
and size, over TLS or to this machine only.

Invariant: neither token nor secret is in a message, a log or a repr.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from streams.errors import BrokerError
from streams.runtime.tls import trust
from streams.settings import KafkaLink, is_loopback, read_secret

ASK_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 << 10
RENEW_SECONDS: Final = 30.0
"""A token is not used in its last seconds: the broker's clock is another one."""
_TOKEN_CA: Final = "SPANLOOM_KAFKA_TOKEN_CA_FILE"
UNDATED_SECONDS: Final = 300.0
"""A token that does not say when it ends is read again after so long."""


class Token(NamedTuple):
    """A bearer token, when it ends (Unix seconds), and whom it is of (for librdkafka's logs)."""

    text: str
    ends_at: float
    subject: str

    def __repr__(self) -> str:
        """Say nothing of the token."""
        return f"Token(of {self.subject}, until {self.ends_at:.0f})"


class TokenSource(Protocol):
    """Gives a token that is good for a while."""

    def token(self) -> Token:
        """Return a token; blocking.

        Raises:
            SpanloomError: there is none; says why and what to do.
        """


class FileTokens:
    """Tokens from a file, which is read each time: whoever issues them renews it."""

    def __init__(self, settings: KafkaLink) -> None:
        self._settings = settings

    def token(self) -> Token:
        """Return what the file holds now."""
        path = self._settings.token_file
        assert path is not None, "settings say so"
        text = read_secret(path, "token_file").strip()
        if not text.isascii() or not text.isprintable():
            raise BrokerError(
                f"{path} holds no token that can be sent. Operator action: look at what writes the "
                "file named by SPANLOOM_KAFKA_TOKEN_FILE."
            )
        ends_at, subject = _claims(text)
        if ends_at <= time.time():
            raise BrokerError(
                f"the token in {path} ended {time.time() - ends_at:.0f} s ago. Operator action: "
                "look at what renews the file named by SPANLOOM_KAFKA_TOKEN_FILE."
            )
        return Token(text, ends_at, subject)

    def for_librdkafka(self, _config: str) -> tuple[str, float, str, dict[str, str]]:
        """Return the token as confluent_kafka's `oauth_cb` wants it."""
        token = self.token()
        return token.text, token.ends_at, token.subject, extensions(self._settings)


class EndpointTokens:
    """Tokens by OAuth 2 client credentials (RFC 6749, 4.4), kept until shortly before they end."""

    def __init__(self, settings: KafkaLink) -> None:
        self._settings = settings
        self._kept: Token | None = None
        self._asking = threading.Lock()

    def token(self) -> Token:
        """Return the token that is kept, or ask for one."""
        with self._asking:
            kept = self._kept
            if kept is None or kept.ends_at - RENEW_SECONDS < time.time():
                self._kept = kept = self._ask()
            return kept

    def _ask(self) -> Token:
        url = self._settings.token_url
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust(self._settings.token_ca_file, _TOKEN_CA)),
            _NoRedirect(),
            *([urllib.request.ProxyHandler({})] if is_loopback(_host(url)) else []),
        )
        try:
            with opener.open(self._request(), timeout=ASK_SECONDS) as answer:
                said = answer.read(ANSWER_BYTES_MAX + 1)
            if len(said) > ANSWER_BYTES_MAX:
                raise ValueError(f"its answer is larger than {ANSWER_BYTES_MAX} bytes")
            return _read_answer(said, self._settings.client_id)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(f"HTTP {error.code} {error.reason}") from error
        except (OSError, ValueError) as error:
            raise self._refused(str(getattr(error, "reason", error))) from error

    def _request(self) -> urllib.request.Request:
        s = self._settings
        form = {"grant_type": "client_credentials"} | ({"scope": s.scope} if s.scope else {})
        # RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
        pair = ":".join(map(urllib.parse.quote_plus, (s.client_id, s.secret("client_secret"))))
        headers = {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
            "Accept": "application/json",
        }
        return urllib.request.Request(
            s.token_url, urllib.parse.urlencode(form).encode(), headers, method="POST"
        )

    def _refused(self, why: str) -> BrokerError:
        return BrokerError(
            f"no token for client {self._settings.client_id} from {self._settings.token_url}: "
            f"{why}. Operator action: check SPANLOOM_KAFKA_TOKEN_URL, CLIENT_ID, CLIENT_SECRET "
            "and SCOPE, and that the endpoint is up."
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An endpoint that sends us elsewhere would send our secret there too."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing; the answer's own code is the error."""
        return


def source(settings: KafkaLink) -> TokenSource:
    """Return where the tokens of a link come from."""
    return EndpointTokens(settings) if settings.token_file is None else FileTokens(settings)


def provider(tokens: TokenSource, sent_along: Mapping[str, str]) -> Any:
    """Return aiokafka's token provider over a source."""
    from aiokafka.abc import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
        async def token(self) -> str:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(None, tokens.token)).text

        def extensions(self) -> dict[str, str]:
            return dict(sent_along)

    return Provider()


def oidc_settings(settings: KafkaLink) -> dict[str, object]:
    """Return how librdkafka asks the endpoint itself, in a thread of its own."""
    base: dict[str, object] = {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": settings.token_url,
        "sasl.oauthbearer.client.id": settings.client_id,
        "sasl.oauthbearer.client.secret": settings.secret("client_secret"),
    }
    if settings.scope:
        base["sasl.oauthbearer.scope"] = settings.scope
    if settings.extensions:
        base["sasl.oauthbearer.extensions"] = settings.extensions.rstrip(",")
    if settings.token_ca_file is not None:
        base["https.ca.location"] = str(settings.token_ca_file)
    return base


def extensions(settings: KafkaLink) -> dict[str, str]:
    """Return the SASL extensions by name."""
    pairs = (pair.partition("=") for pair in settings.extensions.split(",") if pair)
    return {name: value for name, _, value in pairs}


def _read_answer(said: bytes, client_id: str) -> Token:
    try:
        answer = json.loads(said)
        text, lasts = answer["access_token"], answer.get("expires_in")
    except (ValueError, TypeError, KeyError):
        raise ValueError("its answer holds no access_token") from None
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text:
        raise ValueError("its answer holds no access_token that can be sent")
    if isinstance(lasts, int | float) and lasts > 0:
        return Token(text, time.time() + lasts, client_id)
    return Token(text, _claims(text)[0], client_id)


def _claims(text: str) -> tuple[float, str]:
    """Return when a token ends and its subject; of one that is no JWT the default."""
    undated = time.time() + UNDATED_SECONDS
    parts = text.split(".")
    if len(parts) != 3:
        return undated, "unknown"
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(payload.get("exp", undated)), str(payload.get("sub", "unknown"))
    except (ValueError, TypeError, AttributeError):
        return undated, "unknown"


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""
