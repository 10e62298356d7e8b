"""The login of browsers: a page that takes a key or leads to the provider, and the way out.

Owns the cookie of a login. It is HttpOnly, SameSite=Strict, and Secure unless all is on the
loopback. The page has no script and works without any.
"""

import html
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from streams.console.access.gate import Access, Refusal, again, client_of, safe_next
from streams.errors import StateError
from streams.serving.meters import RequestMeters
from streams.serving.roles import Actor

FORM_BYTES_MAX: Final = 16_384

STYLE: Final = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; }
main { width: min(26rem, calc(100vw - 3rem)); }
h1 { font-size: 1.25rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button, .button { margin: .35rem 0 1rem; padding: .6rem .7rem; border-radius: .4rem; }
input { border: 1px solid #767676; }
button, .button { border: 0; background: #1d5fbf; color: #fff; }
button, .button { text-align: center; cursor: pointer; }
.button { display: block; text-decoration: none; }
:focus-visible { outline: 3px solid #e8a317; outline-offset: 2px; }
[role=alert] { border-left: 4px solid #c62828; padding: .3rem .8rem; }
"""
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · Spanloom</title>
<link rel="stylesheet" href="/login.css">
</head>
<body>
<main>
<h1>Spanloom console</h1>
{said}
{way}
</main>
</body>
</html>
"""
_WITH_KEY: Final = """\
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="key">Key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus
 maxlength="200" spellcheck="false">
<button>Log in</button>
</form>"""
_WITH_PROVIDER: Final = (
    '<a class="button" href="/login/oidc?next={next}">Log in with your account</a>'
)


def page(access: Access, next_: str, said: str = "", status: int = 200) -> Response:
    """Return the page of the login."""
    if access.settings.auth == "keys":
        way = _WITH_KEY.format(next=html.escape(next_, quote=True))
    else:
        way = _WITH_PROVIDER.format(next=html.escape(quote(next_, safe=""), quote=True))
    alert = f'<p role="alert">{html.escape(said)}</p>' if said else ""
    return HTMLResponse(_PAGE.format(said=alert, way=way), status)


def begin(access: Access, actor: Actor, request: Request, response: Response) -> Response:
    """Write a login down, begin it, and let a response carry its cookie.

    Raises:
        StateError: it could not be written down; nobody is logged in.
    """
    access.log.write(
        "login",
        "allowed",
        actor=actor.name,
        roles=sorted(actor.roles),
        how=actor.how,
        key_id=actor.key_id,
        client=client_of(request.scope),
    )
    access.sessions.end(access.session_of(request.headers))
    response.set_cookie(
        access.cookie,
        access.sessions.begin(actor, access.wall()),
        max_age=round(access.sessions.seconds),
        path="/",
        secure=access.is_secure,
        httponly=True,
        samesite="strict",
    )
    return response


def refuse(access: Access, meters: RequestMeters, request: Request, refusal: Refusal) -> None:
    """Count a login that was refused, and write it down."""
    meters.refused[refusal.reason] += 1
    access.log.refused(refusal.reason, client=client_of(request.scope), method="login")


def routes(access: Access, meters: RequestMeters) -> Sequence[Route]:
    """Return what serves the login, of browsers that come with a key or ask for the way."""

    async def show(request: Request) -> Response:
        next_ = safe_next(request.query_params.get("next"))
        if access.settings.auth == "none" or request.scope.get("spanloom.actor") is not None:
            return RedirectResponse(next_, 303)
        return page(access, next_)

    async def enter(request: Request) -> Response:
        if access.keys is None:
            return page(access, "/", "There is no login with a key here.", 404)
        text = bytearray()
        async for part in request.stream():
            text += part
            if len(text) > FORM_BYTES_MAX:
                return page(access, "/", "That was too much.", 413)
        form = parse_qs(text.decode("utf-8", "replace"), max_num_fields=10)
        next_ = safe_next(form.get("next", [""])[0])
        found = access.judge_key(form.get("key", [""])[0].strip(), client_of(request.scope))
        if isinstance(found, Refusal):
            refuse(access, meters, request, found)
            return page(access, next_, f"Not logged in: {found.words}.", found.status)
        try:
            return begin(access, found, request, RedirectResponse(next_, 303))
        except StateError:
            return page(access, next_, "Nobody can log in now; the log says why.", 503)

    async def leave(request: Request) -> Response:
        name = access.session_of(request.headers)
        actor = access.sessions.end(name) if name else None
        if actor is not None:
            client = client_of(request.scope)
            access.log.note("logout", "asked", actor=actor.name, client=client)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(
            access.cookie, path="/", secure=access.is_secure, httponly=True, samesite="strict"
        )
        return response

    async def style(_: Request) -> Response:
        return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    return [
        Route("/login", show, methods=["GET"]),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", leave, methods=["POST"]),
        Route("/login.css", style, methods=["GET"]),
    ]


def arrived(access: Access, actor: Actor, request: Request, next_: str) -> Response:
    """Return the page after a login that came from the provider.

    It asks for the next one itself: along a redirection from another site the browser would not
    send the cookie that it was just given.
    """
    return begin(access, actor, request, again(next_))
