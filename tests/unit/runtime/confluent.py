"""A small registry in memory with the paths of Confluent's interface that the client calls."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


class Confluent:
    """What the registry holds, and what it was asked.

    Attributes:
        schemas: by id.
        asked: (method, path) of each request.
        authorization: the header that is let in; "" for anybody.
        status: answered to everything instead, when not 0.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, str] = {}
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.authorization = ""
        self.status = 0
        self.url = ""

    def put(self, subject: str, schema: str) -> int:
        """Keep a schema and return its id; an equal one has the id that it had."""
        known = {text: number for number, text in self.schemas.items()}
        number = known.get(schema, 101 + len(self.schemas))
        self.schemas[number] = schema
        if number not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(number)
        return number

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and answer of a request."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if method == "GET" and parts[:2] == ["schemas", "ids"]:
            found = self.schemas.get(int(parts[2]))
            return (200, {"schema": found}) if found else (404, {"error_code": 40403})
        if method == "PUT" and parts[0] == "config":
            self.levels[parts[1]] = body["compatibility"]
            return 200, body
        if method == "POST" and parts[0] == "subjects" and parts[2:] == ["versions"]:
            return 200, {"id": self.put(parts[1], body["schema"])}
        if method == "POST" and parts[0] == "subjects":
            for version, number in enumerate(self.subjects.get(parts[1], []), 1):
                if self.schemas[number] == body["schema"]:
                    said = {"subject": parts[1], "id": number, "version": version}
                    return 200, said | {"schema": body["schema"]}
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 405, {"error_code": 405}


@contextmanager
def confluent() -> Iterator[Confluent]:
    """Serve a registry for the block."""
    registry = Confluent()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            path = urlsplit(self.path).path
            registry.asked.append((self.command, path))
            wanted = registry.authorization
            if registry.status:
                status, said = registry.status, {"error_code": registry.status, "message": "no"}
            elif wanted and self.headers.get("Authorization") != wanted:
                status, said = 401, {"error_code": 401, "message": "Unauthorized"}
            else:
                status, said = registry.answer(self.command, path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _reply  # noqa: N815  (the names that the server calls)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
