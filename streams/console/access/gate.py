"""Who asks, and whether they may: what stands before every path of the console.

Owns the order of the checks: the name that is asked, the length, who it is, whose page it comes
from, how often, the role. And the headers of every answer. Invariant: a path that is not named in
`OPEN_PATHS` is reached by nobody without the role `viewer`.
"""

import html
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.console.access.audit_log import AccessLog
from streams.console.access.sessions import Sessions
from streams.console.settings import ConsoleSettings
from streams.runtime.clock import wall_us
from streams.serving.bounds import Pace
from streams.serving.keys import KeyRing
from streams.serving.meters import RequestMeters
from streams.serving.roles import ANYBODY, Actor, Role

URL_BYTES_MAX: Final = 8_192
FAILURES_PER_SECOND: Final = 0.2
FAILURES_BURST: Final = 10
"""Wrong keys of one address: ten, then one every five seconds."""
JUDGED_SECONDS: Final = 30.0
"""How long an answer goes on before it is asked again whether its login is still one."""
OPEN_PATHS: Final = frozenset({"/health", "/ready", "/login", "/login.css", "/logout"})
OPEN_FOLDER: Final = "/login/"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""Nothing from elsewhere, nothing written into a document, and no page around ours."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of each answer that does not say otherwise."""
RECORD: Final = "{record_id}"
"""In the description of a path: takes the rest of it, as a record's id may have slashes."""
UNKNOWN: Final = "(unknown)"
"""In the access log, for a path that is none of ours: it may hold an id or a name misspelt."""
TRANSPORT: Final = "max-age=31536000"


class Refusal(NamedTuple):
    """Why somebody is not answered.

    Attributes:
        status: of HTTP.
        reason: a bounded name, fit for a metric.
        words: for who asked.
        wait_seconds: when to come again; 0 for never.
    """

    status: int
    reason: str
    words: str
    wait_seconds: float = 0.0


NO_LOGIN: Final = Refusal(401, "not_logged_in", "log in, or send a key: Authorization: Bearer KEY")


class Access:
    """The rules of one console, with what it knows of who is logged in.

    Args:
        settings: of the console.
        log: where decisions are written.
        keys: with --auth keys.
        clock: seconds that only go forward.
        wall: wall time in microseconds.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        log: AccessLog,
        keys: KeyRing | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = wall_us,
    ) -> None:
        self.settings, self.log, self.keys = settings, log, keys
        self.sessions = Sessions(settings.session_seconds, settings.sessions_max)
        self.clock, self.wall = clock, wall
        self.pace = Pace(settings.requests_per_second, settings.requests_burst)
        self.failures = Pace(FAILURES_PER_SECOND, FAILURES_BURST)
        self.is_secure = settings.is_encrypted
        # A browser takes __Host- only from TLS, without a domain, for the whole site.
        self.cookie = "__Host-spanloom" if self.is_secure else "spanloom"

    def who(self, headers: Headers, client: str) -> Actor | Refusal:
        """Return who asks, or why that cannot be said."""
        if self.settings.auth == "none":
            return ANYBODY
        given = headers.get("authorization", "")
        if given:
            return self._with_key(given, client)
        name = self.session_of(headers)
        actor = self.sessions.of(name, self.wall()) if name else None
        if actor is None:
            return NO_LOGIN
        if actor.key_id and self.keys is not None:  # a key that was revoked ends its logins too
            valid, why = self.keys.actor_of(actor.key_id, self.wall())
            if valid is None:
                self.sessions.end(name)
                return Refusal(401, f"key_{why}", f"the key of this login is {why}; log in anew")
        return actor

    def session_of(self, headers: Headers) -> str:
        """Return the name of the login that a browser says it has; "" for none."""
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return ""
        found = cookie.get(self.cookie)
        return "" if found is None else found.value

    def _with_key(self, given: str, client: str) -> Actor | Refusal:
        scheme, _, text = given.partition(" ")
        if scheme.lower() != "bearer" or self.keys is None:
            return Refusal(401, "no_such_scheme", "send a key as: Authorization: Bearer KEY")
        return self.judge_key(text.strip(), client)

    def judge_key(self, text: str, client: str) -> Actor | Refusal:
        """Return whose key it is, or why it opens nothing."""
        assert self.keys is not None, "only with --auth keys is one asked for"
        wait_seconds = self.failures.wait_seconds(client, self.clock())
        if wait_seconds:
            return Refusal(429, "too_many_failures", "too many wrong keys; wait", wait_seconds)
        actor, why = self.keys.actor(text, self.wall())
        if actor is not None:
            return actor
        self.failures.take(client, self.clock())
        return Refusal(401, f"key_{why}", f"the key is {why}")

    def judge(self, scope: Scope, headers: Headers) -> Actor | Refusal | None:
        """Return who asks, None for who need not say, or why they are not answered."""
        client, path, method = client_of(scope), scope["path"], scope["method"]
        host = urlsplit("//" + headers.get("host", "")).hostname or ""
        if host not in self.settings.hosts:
            return Refusal(400, "host", "this console is not asked by that name")
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > URL_BYTES_MAX:
            return Refusal(414, "url", f"an address has at most {URL_BYTES_MAX} bytes")
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDER)
        actor = self.who(headers, client)
        if isinstance(actor, Refusal) and (not is_open or actor.status == 429):
            return actor
        asks = asker(actor if isinstance(actor, Actor) else None, client)
        wait_seconds = self.pace.take(asks, self.clock())
        if wait_seconds:
            return Refusal(429, "pace", "too many requests; wait", wait_seconds)
        if method not in SAFE_METHODS and self._is_foreign(headers):
            return Refusal(403, "foreign_page", "a page of another site may not ask this")
        if isinstance(actor, Refusal):
            return None
        if not is_open and not actor.may("viewer"):
            return lacks("viewer")
        return actor

    def _is_foreign(self, headers: Headers) -> bool:
        """Say whether a request that changes something may come from a page of others."""
        if "authorization" in headers and self.settings.auth != "none":
            return False  # no browser adds that by itself
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            return site not in ("same-origin", "none")
        if origin is not None:
            return urlsplit(origin).netloc != headers.get("host")
        return "cookie" in headers  # a browser that says neither cannot be told from an attack


def lacks(role: Role) -> Refusal:
    """Return the refusal of who has not got a role."""
    return Refusal(403, "role", f"this needs the role {role}, or admin")


def client_of(scope: Scope) -> str:
    """Return the address that a request came from."""
    return str((scope.get("client") or ("unknown",))[0])


def asker(actor: Actor | None, client: str) -> str:
    """Return whom bounds are counted by: who is logged in, else an address."""
    return f"actor {actor.name}" if actor is not None and actor.how != "none" else client


def actor_of(request: Request) -> Actor | None:
    """Return who asks, None on an open path without a login."""
    found: Actor | None = request.scope.get("spanloom.actor")
    return found


class Guard:
    """The middleware: judges each request, and sets the headers of each answer.

    Args:
        app: what answers.
        access: the rules.
        meters: where requests are counted.
        label: gives the path of a request as the description has it.
    """

    def __init__(
        self, app: ASGIApp, access: Access, meters: RequestMeters, label: Callable[[Scope], str]
    ) -> None:
        self._app, self._access, self._meters, self._label = app, access, meters, label

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers, label = Headers(scope=scope), self._label(scope)
        answer = _Answer(send, self._access, lambda: self._access.who(headers, client_of(scope)))
        began = time.monotonic()
        self._meters.open_requests[label] += 1
        try:
            found = self._access.judge(scope, headers)
            if isinstance(found, Refusal):
                self.note(found, scope, label)
                await refused(found, scope, headers)(scope, receive, answer.send)
                return
            if found is not None:
                scope["spanloom.actor"] = found
            await self._app(scope, receive, answer.send)
        finally:
            self._meters.open_requests[label] -= 1
            self._meters.answered(label, answer.status, time.monotonic() - began)

    def note(self, refusal: Refusal, scope: Scope, label: str) -> None:
        """Count a refusal, and write down one of access."""
        self._meters.refused[refusal.reason] += 1
        # A browser that has not logged in yet is no news, and neither is a pace.
        if refusal.status in (401, 403) and refusal is not NO_LOGIN:
            self._access.log.refused(
                refusal.reason,
                client=client_of(scope),
                method=scope["method"],
                path=UNKNOWN if label == "other" else label,
            )


class _Answer:
    """What goes out: the headers that every answer has, and its status for who counts.

    An answer that goes on and on, as news do, ends when its login does.
    """

    def __init__(self, send: Send, access: Access, who: Callable[[], Actor | Refusal]) -> None:
        self._send, self._access, self._who = send, access, who
        self._judged = access.clock()
        self._is_over = False
        self.status = 499
        """As nginx has it: the client went away first."""

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._access.is_secure:
                headers.setdefault("Strict-Transport-Security", TRANSPORT)
        elif self._access.clock() - self._judged > JUDGED_SECONDS:
            self._judged = self._access.clock()
            if isinstance(self._who(), Refusal) and not self._is_over:
                self._is_over = True
                await self._send({"type": "http.response.body", "body": b""})
        if not self._is_over:
            await self._send(message)


def refused(refusal: Refusal, scope: Scope, headers: Headers) -> Response:
    """Return the answer to who is refused: a page for people, JSON for programs."""
    extra = {"Retry-After": str(int(refusal.wait_seconds) + 1)} if refusal.wait_seconds else {}
    if refusal.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
        if _is_navigation(scope, headers):
            return _to_login(scope, headers)
    return JSONResponse({"error": refusal.words}, refusal.status, extra)


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    is_page = not scope["path"].startswith("/api/") and scope["path"] != "/metrics"
    return is_page and scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _to_login(scope: Scope, headers: Headers) -> Response:
    query = scope["query_string"].decode("latin-1")
    asked = quote(scope["path"]) + (f"?{query}" if query else "")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # The cookie is not sent along a link of another site. Asked again by a page of ours it is.
        return again(asked)
    return RedirectResponse(f"/login?next={quote(asked, safe='/')}", 303)


def again(path: str) -> Response:
    """Return a page that asks a path of ours, so that the browser sends its cookie."""
    place = html.escape(path, quote=True)
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Spanloom</title>'
        f'<meta http-equiv="refresh" content="0;url={place}">'
        f'<a href="{place}">Go on</a></html>'
    )
    return HTMLResponse(text)


def safe_next(path: Any) -> str:
    """Return a path of this console to go on to; what could lead elsewhere becomes the start."""
    text = path if isinstance(path, str) else ""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\", "/login", "/logout"))
    return text if is_ours and text.isprintable() and len(text) <= URL_BYTES_MAX else "/"
