"""Login through an OpenID provider: authorization code with PKCE, by Authlib.

Owns what becomes of the provider's word: who it is, and which roles the claims give. Authlib checks
the state, exchanges the code with the verifier, and checks signature, issuer, audience, time and
nonce of the id token. Between the two steps all that is known lies in a signed cookie, which lasts
`LOGIN_SECONDS` and is sent to /login/ alone.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.console.access.gate import Access, Refusal, safe_next
from streams.console.access.login import arrived, page, refuse
from streams.errors import StateError
from streams.serving.meters import RequestMeters
from streams.serving.roles import Actor, Role
from streams.settings import secret_text

LOGIN_SECONDS: Final = 600
PROVIDER_SECONDS: Final = 10.0
NAME_CHARS_MAX: Final = 200
CLOCKS_SECONDS: Final = 30
"""How far the provider's clock and ours may differ."""

log = structlog.get_logger()


def roles_of(claim: Any, roles: Mapping[str, Role]) -> frozenset[Role]:
    """Return the roles that a claim gives: a text, or a list of texts; of others none."""
    values = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(roles[one] for one in values if isinstance(one, str) and one in roles)


def actor_from(
    claims: Mapping[str, Any], name_claim: str, role_claim: str, roles: Mapping[str, Role]
) -> Actor | Refusal:
    """Return who the provider says it is, or why they are not let in.

    An address that the provider has not verified is nobody's name: the subject is taken instead.
    """
    name = claims.get(name_claim)
    if name_claim == "email" and claims.get("email_verified") is False:
        name = None
    if not isinstance(name, str) or not name.strip():
        name = claims.get("sub")
    if not isinstance(name, str) or not name.isprintable() or len(name) > NAME_CHARS_MAX:
        return Refusal(403, "oidc_no_name", "the provider does not say who you are")
    found = roles_of(claims.get(role_claim), roles)
    if not found:
        return Refusal(403, "oidc_no_role", "your account has no role here")
    return Actor(name, found, "oidc")


class Provider:
    """The provider, as the settings name it.

    Args:
        access: the rules of the console.
        meters: where refusals are counted.

    Raises:
        ConfigError: the client's secret cannot be read.
    """

    def __init__(self, access: Access, meters: RequestMeters) -> None:
        settings = access.settings
        assert settings.oidc_client_secret_file is not None, "the settings were checked"
        self._access, self._meters = access, meters
        self._callback = settings.public_url.rstrip("/") + "/login/oidc/back"
        path = settings.oidc_client_secret_file
        self._client = OAuth().register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=secret_text(
                path, f"console_oidc_client_secret_file (SPANLOOM_CONSOLE_...): {path}"
            ),
            server_metadata_url=settings.oidc_issuer.rstrip("/")
            + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": PROVIDER_SECONDS,
            },
        )

    def routes(self) -> Sequence[Route]:
        """Return the two steps of a login."""
        held = Middleware(
            SessionMiddleware,
            secret_key=secrets.token_urlsafe(32),
            session_cookie="spanloom_login",
            max_age=LOGIN_SECONDS,
            path="/login/",
            same_site="lax",  # the provider's page leads back here
            https_only=self._access.is_secure,
        )
        return [
            Route("/login/oidc", self._go, methods=["GET"], middleware=[held]),
            Route("/login/oidc/back", self._back, methods=["GET"], middleware=[held]),
        ]

    async def _go(self, request: Request) -> Response:
        request.session.clear()
        request.session["next"] = safe_next(request.query_params.get("next"))
        try:
            answer: Response = await self._client.authorize_redirect(request, self._callback)
        except (httpx2.HTTPError, RuntimeError, ValueError) as error:
            return self._away(request, error)
        return answer

    async def _back(self, request: Request) -> Response:
        next_ = safe_next(request.session.get("next"))
        issuer = self._access.settings.oidc_issuer
        try:
            token = await self._client.authorize_access_token(
                request,
                claims_options={"iss": {"essential": True, "value": issuer}},
                leeway=CLOCKS_SECONDS,
            )
        except (OAuthError, JoseError) as error:
            log.warning("login_refused", why=str(error)[:300])
            refused = Refusal(403, "oidc_refused", "the provider's answer does not hold")
            return self._refused(request, refused, next_)
        except (httpx2.HTTPError, RuntimeError, ValueError, KeyError, TypeError) as error:
            return self._away(request, error)
        finally:
            request.session.clear()
        claims = token.get("userinfo")
        if not claims:
            refused = Refusal(403, "oidc_refused", "the provider gave no id token")
            return self._refused(request, refused, next_)
        settings = self._access.settings
        found = actor_from(
            claims, settings.oidc_name_claim, settings.oidc_role_claim, settings.oidc_roles
        )
        if isinstance(found, Refusal):
            return self._refused(request, found, next_)
        try:
            return arrived(self._access, found, request, next_)
        except StateError:
            return page(self._access, next_, "Nobody can log in now; the log says why.", 503)

    def _refused(self, request: Request, refusal: Refusal, next_: str) -> Response:
        refuse(self._access, self._meters, request, refusal)
        return page(self._access, next_, f"Not logged in: {refusal.words}.", refusal.status)

    def _away(self, request: Request, error: Exception) -> Response:
        log.error("provider_away", error=f"{type(error).__name__}: {error}"[:300])
        refused = Refusal(502, "oidc_away", "the provider does not answer; try again")
        return self._refused(request, refused, "/")
