"""A console without a broker for tests of who may ask: its interface, and a way to ask it."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from streams.console.access import login
from streams.console.access.audit_log import AccessLog
from streams.console.access.gate import Access
from streams.console.access.oidc import Provider
from streams.console.api import Interface, application
from streams.console.archive.erasing import erase
from streams.console.paths import about, commands, erasure, rejected
from streams.console.paths.every import PATHS
from streams.console.paths.path import Path as Described
from streams.console.paths.pipeline import pipeline_paths
from streams.console.questions.queries import Queries
from streams.console.redriven import Redriven
from streams.console.settings import ConsoleSettings
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.runtime import topics
from streams.serving import keys
from streams.serving.keys import KeyRing
from streams.serving.meters import RequestMeters
from streams.serving.roles import Role
from tests.unit.console.at_hand import Clock, archive_in, incident, message, trace

KEYED = Pseudonyms([Key("k1", b"not a secret, but the key of tests")])
BASE = "http://localhost:8090"
NOW_US = 1_790_000_000_000_000


class Wall:
    """Wall time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


class Asked:
    """The interface of a console, what it wrote down, what was ordered."""

    def __init__(
        self, folder: Path, threads: ThreadPoolExecutor, settings: Mapping[str, Any]
    ) -> None:
        self.clock, self.wall = Clock(), Wall()
        self.keys_file, self.book = folder / "keys.json", folder / "access"
        self.tokens = {
            role: self.new_key(role) for role in ("viewer", "operator", "auditor", "personal")
        }
        archive = archive_in(folder / "archive")
        archive.take(message(topics.TRACES, 0, trace()))
        archive.take(message(topics.INCIDENTS, 0, incident("c" * 32)))
        ring = KeyRing(self.keys_file, self.clock)
        given = ConsoleSettings(**{"auth": "keys", "keys_file": self.keys_file, **settings})
        log = AccessLog(self.book, self.wall)
        is_keys = given.auth == "keys"
        self.access = Access(given, log, ring if is_keys else None, self.clock, self.wall)
        self.meters = RequestMeters()
        self.interface = Interface(
            Queries(archive, 256 << 20, 1), threads, threads, self.access, self.meters
        )
        self.ordered: list[Mapping[str, Any]] = []
        self.sent: list[Any] = []
        self.redriven = Redriven(self.book, self.wall)
        more = (
            *commands.paths(self.ordered.append),
            *rejected.paths(self.redriven, lambda _: None, self._send),
            *pipeline_paths(),
            *about.paths(lambda: {("traces.assembled.v1", 0): (3, 5)}),
            *erasure.paths(
                KEYED, lambda found: erase(self.interface.queries._archive, found, []), log
            ),
        )
        self.paths: tuple[Described, ...] = (*PATHS, *more)
        logins = [*login.routes(self.access, self.meters)]
        if given.auth == "oidc":
            logins += Provider(self.access, self.meters).routes()
        self.app = application(self.interface, {}, more, logins)

    def _send(self, record: Any) -> int:
        self.sent.append(record)
        return 70 + len(self.sent)

    def new_key(self, role: Role, seconds: float = 3_600) -> str:
        """Return a new key of somebody of the role's name."""
        text, key = keys.make(f"{role}@example.org", role, self.wall(), seconds)
        keys.change(self.keys_file, lambda held: [*held, key])
        return text

    def ask(self, path: str, method: str = "GET", key: str = "", **given: Any) -> httpx.Response:
        """Return an answer; `key` names a role whose key is sent, or is a key."""
        headers = dict(given.pop("headers", {}))
        if key:
            headers["Authorization"] = f"Bearer {self.tokens.get(key, key)}"
        base, client = given.pop("base", BASE), given.pop("client", ("192.0.2.7", 1))

        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=client)
            async with httpx.AsyncClient(transport=transport, base_url=base) as one:
                return await one.request(method, path, headers=headers, **given)

        return asyncio.run(answer())

    def log_in(self, role: str = "viewer", **given: Any) -> str:
        """Return the cookie of a new login."""
        answer = self.ask(
            "/login", "POST", data={"key": self.tokens[role]}, headers={"Origin": BASE}, **given
        )
        assert answer.status_code == 303, answer.text
        return answer.headers["set-cookie"].partition(";")[0]

    def written(self) -> list[dict[str, Any]]:
        """Return the lines of the access log."""
        return [
            json.loads(line)
            for file in sorted(self.book.glob("access-*.jsonl"))
            for line in file.read_text("utf-8").splitlines()
        ]


@contextmanager
def asked(folder: Path, **settings: Any) -> Iterator[Asked]:
    """Yield a console to ask."""
    with ThreadPoolExecutor(2) as threads:
        yield Asked(folder, threads, settings)
