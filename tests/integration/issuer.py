"""An issuer of tokens: signs them with the secured broker's key, and gives them to who asks.

The endpoint is OAuth 2's client credentials grant over TLS, as an identity provider has it.
"""

import base64
import json
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs


def signed(key: Path, **claims: Any) -> str:
    """Return a JWT (RS256) that the broker believes; `claims` go over the usual ones."""
    now = int(time.time())
    payload = {"sub": "worker", "aud": "kafka", "iat": now, "exp": now + 600, **claims}
    head = _part({"alg": "RS256", "typ": "JWT", "kid": "1"})
    body = f"{head}.{_part(payload)}"
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key],
        input=body.encode(),
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout
    return f"{body}.{_base64(signature)}"


def _part(content: dict[str, Any]) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class Issuer:
    """A token endpoint on the loopback; use it in a `with` statement.

    Attributes:
        asked: how often a token was asked for with the right secret.
        refused: how often with a wrong one.
    """

    def __init__(self, key: Path, certificate: Path, client_id: str, secret: str) -> None:
        self.asked = self.refused = 0
        issuer, expected = self, base64.b64encode(f"{client_id}:{secret}".encode()).decode()

        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                form = parse_qs(self.rfile.read(length).decode())
                right = self.headers.get("Authorization") == f"Basic {expected}"
                if not right or form.get("grant_type") != ["client_credentials"]:
                    issuer.refused += 1
                    self._answer(401, {"error": "invalid_client"})
                    return
                issuer.asked += 1
                token = signed(key, sub=client_id, scope=" ".join(form.get("scope", [])))
                self._answer(200, {"access_token": token, "expires_in": 600})

            def _answer(self, code: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
