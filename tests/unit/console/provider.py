"""A real OpenID provider on the loopback, which holds clients to PKCE and remembers what they ask.

The library's own provider does not look at PKCE; what stands before it here does, by RFC 7636.
"""

import base64
import hashlib
import io
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from werkzeug.serving import WSGIRequestHandler, make_server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses what Authlib is about to move elsewhere
    import oidc_provider_mock

SUBJECT = "user-1"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


class Provider:
    """The provider.

    Attributes:
        issuer: its address.
        exchanges: forms of the requests for tokens.
        refused: requests for tokens whose verifier was wrong.
    """

    def __init__(self, **claims: Any) -> None:
        users = [oidc_provider_mock.User(sub=SUBJECT, claims=claims)]
        self._app: Any = oidc_provider_mock.app(require_nonce=True, user_claims=users)
        self.exchanges: list[dict[str, list[str]]] = []
        self.refused = 0
        self._challenges: dict[str, str] = {}
        self.server = make_server(
            "localhost", 0, self._guarded, threaded=True, request_handler=_Quiet
        )
        self.issuer = f"http://localhost:{self.server.server_port}"

    def _guarded(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/oauth2/token":
            text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(text)
            form = parse_qs(text.decode())
            self.exchanges.append(form)
            digest = hashlib.sha256(form.get("code_verifier", [""])[0].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if self._challenges.get(form["code"][0]) != challenge:
                self.refused += 1
                start("400 Bad Request", [("Content-Type", "application/json")])
                return [b'{"error": "invalid_grant"}']
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Iterable[bytes] = self._app(environ, start)
            return list(found)

    def consent(self, url: str) -> str:
        """Log in as a browser would, and return where the provider leads back to."""
        asked = parse_qs(urlsplit(url).query)
        answer = httpx.post(url, data={"sub": SUBJECT})
        assert answer.status_code == 302, answer.text
        back: str = answer.headers["location"]
        code = parse_qs(urlsplit(back).query)["code"][0]
        if asked.get("code_challenge_method") == ["S256"]:
            self._challenges[code] = asked["code_challenge"][0]
        return back


@contextmanager
def provider(**claims: Any) -> Iterator[Provider]:
    """Yield a provider of one person with some claims."""
    made = Provider(**claims)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
