"""Login through a real OpenID provider: who it names gets the roles of the claim, nobody else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from streams.console.access.gate import Refusal
from streams.console.access.oidc import actor_from, roles_of
from streams.serving.roles import Role
from tests.unit.console.asking import BASE, Asked, asked
from tests.unit.console.provider import Provider, provider

ROLES: dict[str, Role] = {"sre": "operator", "audit": "auditor", "all": "viewer"}
CLAIMS: dict[str, Any] = {
    "email": "alice@example.org", "email_verified": True, "groups": ["sre", "x"],
}  # fmt: skip


@pytest.fixture(params=[{}])
def login(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Asked, Provider]]:
    """Yield a console and its provider; the parameters are claims of the person."""
    with provider(**{**CLAIMS, **request.param}) as one:
        secret = tmp_path / "secret"
        secret.write_text("s3cret")
        settings = {
            "auth": "oidc", "oidc_issuer": one.issuer, "oidc_client_id": "console",
            "oidc_client_secret_file": secret, "oidc_roles": ROLES, "public_url": BASE,
        }  # fmt: skip
        with asked(tmp_path, **settings) as console:
            yield console, one


class Browser:
    """Keeps cookies, and sends those that fit a path."""

    def __init__(self, console: Asked) -> None:
        self.console = console
        self.cookies: dict[str, str] = {}

    def get(self, url: str) -> httpx.Response:
        parts = urlsplit(url)
        path = urlunsplit(("", "", parts.path, parts.query, ""))
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.console.ask(path, headers={"Cookie": cookie} if cookie else {})
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer


def changed(url: str, **values: str) -> str:
    """Return an address with other parameters."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | values
    return urlunsplit(parts._replace(query=urlencode(query)))


def test_who_the_provider_names_is_let_in(login: tuple[Asked, Provider]) -> None:
    """Code, PKCE, state and nonce; a page of ours goes on, with a cookie for no other site."""
    console, one = login
    browser = Browser(console)
    assert 'href="/login/oidc?next=%2Fincidents"' in browser.get("/login?next=/incidents").text
    go = browser.get("/login/oidc?next=/incidents")
    asked_for = parse_qs(urlsplit(go.headers["location"]).query)
    assert asked_for["response_type"] == ["code"]
    assert asked_for["code_challenge_method"] == ["S256"]
    assert asked_for["redirect_uri"] == [f"{BASE}/login/oidc/back"]
    assert asked_for["state"]
    assert asked_for["nonce"]
    back = browser.get(one.consent(go.headers["location"]))
    assert back.status_code == 200, back.text
    assert 'content="0;url=/incidents"' in back.text
    assert re.search(r"spanloom=[^;]+;.*SameSite=strict", back.headers["set-cookie"])
    assert browser.get("/api/v1/me").json() == {
        "actor": "alice@example.org", "roles": ["operator"], "may": ["viewer", "operator"],
        "login": "oidc",
    }  # fmt: skip
    assert len(one.exchanges[0]["code_verifier"][0]) >= 43
    (line,) = [line for line in console.written() if line["event"] == "login"]
    assert (line["actor"], line["how"]) == ("alice@example.org", "oidc")
    written = str(console.written())
    assert one.exchanges[0]["code"][0] not in written
    assert "s3cret" not in written


def test_a_login_that_another_began_is_refused(login: tuple[Asked, Provider]) -> None:
    """A link with somebody's code, in a browser that did not ask for it: the state is not its."""
    console, one = login
    attacker, victim = Browser(console), Browser(console)
    back = one.consent(attacker.get("/login/oidc").headers["location"])
    assert victim.get(back).status_code == 403
    victim.get("/login/oidc")
    assert victim.get(back).status_code == 403
    assert victim.get("/api/v1/me").status_code == 401
    assert one.exchanges == []


def test_a_code_of_another_login_is_refused(login: tuple[Asked, Provider]) -> None:
    """Put into a login of one's own: the verifier is not the code's."""
    console, one = login
    victim, thief = Browser(console), Browser(console)
    stolen = parse_qs(urlsplit(one.consent(victim.get("/login/oidc").headers["location"])).query)
    own = one.consent(thief.get("/login/oidc").headers["location"])
    assert thief.get(changed(own, code=stolen["code"][0])).status_code == 403
    assert one.refused == 1
    assert thief.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("values", [{"nonce": "n" * 20}, {"client_id": "another"}])
def test_a_token_of_another_request_is_refused(
    login: tuple[Asked, Provider], values: dict[str, str]
) -> None:
    """Its nonce, or its audience, is not what was asked for."""
    console, one = login
    browser = Browser(console)
    url = browser.get("/login/oidc").headers["location"]
    assert browser.get(one.consent(changed(url, **values))).status_code == 403
    assert browser.get("/api/v1/me").status_code == 401
    assert {line["outcome"] for line in console.written()} == {"oidc_refused"}


def test_a_code_is_used_once(login: tuple[Asked, Provider]) -> None:
    """The way back, taken twice, leads in once."""
    console, one = login
    browser = Browser(console)
    back = one.consent(browser.get("/login/oidc").headers["location"])
    assert browser.get(back).status_code == 200
    assert browser.get(back).status_code == 403


@pytest.mark.parametrize("login", [{"groups": ["x"]}, {"groups": {"sre": 1}}], indirect=True)
def test_an_account_without_a_role_is_not_let_in(login: tuple[Asked, Provider]) -> None:
    """403 that says so, and it is written down."""
    console, one = login
    browser = Browser(console)
    back = browser.get(one.consent(browser.get("/login/oidc").headers["location"]))
    assert back.status_code == 403
    assert "no role" in back.text
    assert [line["outcome"] for line in console.written()] == ["oidc_no_role"]


@pytest.mark.parametrize("query", ["error=access_denied", "", "code=x", "state=x", "code=&state="])
def test_any_other_way_back_is_refused(login: tuple[Asked, Provider], query: str) -> None:
    """Denied, or made up: a page, never an error of ours."""
    console, _ = login
    assert Browser(console).get(f"/login/oidc/back?{query}").status_code == 403


def test_a_provider_that_is_away_is_told(login: tuple[Asked, Provider]) -> None:
    """502 with a page; who asks again when it is back is led there."""
    console, one = login
    one.server.shutdown()
    one.server.server_close()
    answer = Browser(console).get("/login/oidc")
    assert answer.status_code == 502
    assert "does not answer" in answer.text


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"sub": "1", "email": "a@b", "groups": "sre"}, ("a@b", {"operator"})),
        ({"sub": "1", "email": "a@b", "email_verified": False, "groups": "all"}, ("1", {"viewer"})),
        ({"sub": "1", "groups": ["all", "audit", 7]}, ("1", {"viewer", "auditor"})),
        ({"sub": "1", "email": ["a"], "groups": ["all"]}, ("1", {"viewer"})),
        ({"sub": "1", "email": "a\n@b", "groups": ["all"]}, "oidc_no_name"),
        ({"groups": ["all"]}, "oidc_no_name"),
        ({"sub": "1", "email": "a@b"}, "oidc_no_role"),
    ],
)
def test_claims_say_who_and_what(claims: dict[str, Any], wanted: Any) -> None:
    """An address that is not verified is nobody's name; whatever else comes gives nothing."""
    found = actor_from(claims, "email", "groups", ROLES)
    if isinstance(found, Refusal):
        assert found.reason == wanted
    else:
        assert (found.name, found.roles) == wanted


def test_a_claim_that_is_neither_text_nor_list_gives_no_role() -> None:
    """However it is shaped."""
    for claim in (None, 7, {"sre": True}, [["sre"]], b"sre"):
        assert roles_of(claim, ROLES) == frozenset()
