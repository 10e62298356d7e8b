"""Tokens: read again from files, kept from endpoints, asked for with bounds, and never shown."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerError
from streams.runtime import tokens
from streams.settings import KafkaLink


def jwt(**claims: Any) -> str:
    """Return something that has the form of a JWT."""
    parts = ({"alg": "none"}, claims)
    text = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return f"{text[0]}.{text[1]}.signature"


class Endpoint:
    """An HTTP server on the loopback that answers as a test says and keeps what it was asked."""

    def __init__(self) -> None:
        self.code, self.headers, self.body = 200, dict[str, str](), b""
        self.asked: list[tuple[str, str, bytes]] = []
        endpoint = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.append((self.path, self.headers["Authorization"], body))
                self.send_response(endpoint.code)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(endpoint.body)

            do_GET = do_POST  # noqa: N815  # the server looks for this name

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def say(self, **answer: Any) -> None:
        """Answer with a JSON object."""
        self.body = json.dumps(answer).encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Yield an endpoint that runs."""
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def source(endpoint: Endpoint) -> tokens.EndpointTokens:
    """Return the tokens of an endpoint."""
    settings = KafkaLink(
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        token_url=f"{endpoint.url}/token",
        client_id="a client",
        client_secret="sec:ret",  # type: ignore[arg-type]
        scope="one two",
    )
    return tokens.EndpointTokens(settings)


def test_a_token_is_asked_for_as_the_standard_says(endpoint: Endpoint) -> None:
    """A POST with form-encoded Basic credentials, grant type and scope (RFC 6749, 2.3.1, 4.4.2)."""
    endpoint.say(access_token="t-1", expires_in=600)
    token = source(endpoint).token()
    ((path, authorization, body),) = endpoint.asked
    assert (token.text, path) == ("t-1", "/token")
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"a+client:sec%3Aret"
    assert body == b"grant_type=client_credentials&scope=one+two"


def test_a_token_is_kept_until_shortly_before_it_ends(endpoint: Endpoint) -> None:
    """One that lasts is asked for once; one in its last seconds is asked for anew."""
    endpoint.say(access_token="t-1", expires_in=600)
    lasting = source(endpoint)
    assert [lasting.token().text for _ in range(3)] == ["t-1"] * 3
    assert len(endpoint.asked) == 1
    endpoint.say(access_token="t-2", expires_in=tokens.RENEW_SECONDS - 1)
    ending = source(endpoint)
    assert [ending.token().text for _ in range(3)] == ["t-2"] * 3
    assert len(endpoint.asked) == 4


def test_a_token_without_expires_in_says_itself_when_it_ends(endpoint: Endpoint) -> None:
    """The claim counts; of a token that is no JWT, a default."""
    endpoint.say(access_token=jwt(exp=4_000_000_000))
    assert source(endpoint).token().ends_at == 4_000_000_000
    endpoint.say(access_token="opaque")
    ends_in = source(endpoint).token().ends_at - time.time()
    assert tokens.RENEW_SECONDS < ends_in <= tokens.UNDATED_SECONDS


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (401, b"{}", "HTTP 401"),
        (200, b"<html>", "holds no access_token"),
        (200, b"[]", "holds no access_token"),
        (200, b'{"token": "x"}', "holds no access_token"),
        (200, b'{"access_token": 7}', "that can be sent"),
        (200, b'{"access_token": "a\\u0001b"}', "that can be sent"),
        (200, b'{"access_token": ""}', "that can be sent"),
        (200, b" " * (tokens.ANSWER_BYTES_MAX + 1), "larger than 65536 bytes"),
    ],
)
def test_an_answer_without_a_token_is_told(
    endpoint: Endpoint, code: int, body: bytes, said: str
) -> None:
    """With client and endpoint, the operator action, and no secret."""
    endpoint.code, endpoint.body = code, body
    with pytest.raises(BrokerError, match=rf"client a client .*{said}.*Operator action") as caught:
        source(endpoint).token()
    assert "sec" not in str(caught.value).replace("SECRET", "")


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    """The secret goes to the endpoint that was named and nowhere else."""
    endpoint.code, endpoint.headers = 307, {"Location": f"{endpoint.url}/elsewhere"}
    with pytest.raises(BrokerError, match="HTTP 307"):
        source(endpoint).token()
    assert [path for path, _, _ in endpoint.asked] == ["/token"]


def test_an_endpoint_that_is_away_is_told(endpoint: Endpoint) -> None:
    """The reason is the connection's."""
    gone = source(endpoint)
    gone._settings = gone._settings.model_copy(update={"token_url": "http://127.0.0.1:9/token"})
    with pytest.raises(BrokerError, match=r"no token .*refused"):
        gone.token()


def file_of(folder: Path, text: str) -> tokens.FileTokens:
    """Return the tokens of a file."""
    path = folder / "token"
    path.write_text(text, encoding="utf-8")
    return tokens.FileTokens(KafkaLink(token_file=path, extensions="a=b,c=d e"))


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Whoever issues tokens renews the file while we run."""
    found = file_of(tmp_path, jwt(exp=4_000_000_000, sub="me") + "\n")
    assert found.token().subject == "me"
    text = jwt(exp=4_000_000_001)
    file_of(tmp_path, text)
    assert found.token().text == text


def test_librdkafka_is_given_token_end_and_extensions(tmp_path: Path) -> None:
    """In the form that its callback returns."""
    text = jwt(exp=4_000_000_000, sub="me")
    given = file_of(tmp_path, text).for_librdkafka("")
    assert given == (text, 4_000_000_000.0, "me", {"a": "b", "c": "d e"})


def test_aiokafka_is_given_the_same(tmp_path: Path) -> None:
    """Its provider asks the source, off the loop, and sends the extensions along."""
    found = file_of(tmp_path, "opaque")
    provider = tokens.provider(found, {"a": "b"})
    assert asyncio.run(provider.token()) == "opaque"
    assert provider.extensions() == {"a": "b"}


@pytest.mark.parametrize("text", ["two\nlines", "umlaut-\u00e4", "tab\there"])
def test_what_cannot_be_sent_is_no_token(tmp_path: Path, text: str) -> None:
    """It would be another message to the broker."""
    with pytest.raises(BrokerError, match="holds no token that can be sent"):
        file_of(tmp_path, text).token()


def test_a_token_that_has_ended_is_told(tmp_path: Path) -> None:
    """Instead of the broker's refusal, which does not say why."""
    with pytest.raises(BrokerError, match=r"ended \d+ s ago.*TOKEN_FILE"):
        file_of(tmp_path, jwt(exp=1_000)).token()


@pytest.mark.parametrize("payload", ["!!", "bnVsbA", "eyJleHAiOiAieCJ9"])
def test_claims_that_cannot_be_read_are_no_claims(tmp_path: Path, payload: str) -> None:
    """The broker judges a token; we only want to know when to fetch another."""
    token = file_of(tmp_path, f"a.{payload}.b").token()
    assert token.subject == "unknown"
    assert token.ends_at > time.time()


def test_a_token_is_not_in_its_repr(tmp_path: Path) -> None:
    """Whoever logs it logs whose it is and until when."""
    token = file_of(tmp_path, jwt(exp=4_000_000_000, sub="me")).token()
    assert repr(token) == "Token(of me, until 4000000000)"
