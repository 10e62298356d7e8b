"""Who may ask: nobody without a key, nobody beyond their role, no page of another site."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.access import gate as rules
from streams.console.access.gate import Guard, safe_next
from streams.serving.roles import GRANTS, ROLES, Actor
from tests.unit.console.asking import BASE, Asked, asked

ORDER = f"/api/v1/incidents/{'c' * 32}/commands"
ACK = {"command": "ack", "reason": "looking"}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Asked]:
    """Yield a console that wants keys."""
    with asked(tmp_path) as one:
        yield one


def test_every_path_wants_a_key(console: Asked) -> None:
    """Without one there is 401 everywhere but at the probes and the login."""
    for one in console.paths:
        path = re.sub(r"{\w+}", "1", one.path)
        assert console.ask(path, one.method, json={}).status_code == 401, one.path
    for path in ("/", "/api/v1/openapi.json", "/metrics", "/nowhere", "/api/v1/live"):
        assert console.ask(path).status_code == 401, path
    assert console.ask("/login").status_code == 200


def test_every_path_wants_its_role(console: Asked) -> None:
    """403 for who lacks it, and it is written down; anything else for who has it."""
    for one in console.paths:
        path = re.sub(r"{\w+}", "1", one.path)
        for role in ("viewer", "operator", "auditor"):
            answer = console.ask(path, one.method, role, json={})
            assert (answer.status_code == 403) == (one.role not in GRANTS[role]), (one.path, role)
    refused = [line for line in console.written() if line["event"] == "refusal"]
    assert {line["outcome"] for line in refused} == {"role"}
    assert {line["actor"] for line in refused} >= {"viewer@example.org", "auditor@example.org"}


def test_a_role_grants_what_it_says() -> None:
    """An admin may all but send, a viewer only look; an operator is no auditor, nor the reverse."""
    admin = Actor("a", frozenset({"admin"}), "key")
    assert [role for role in ROLES if not admin.may(role)] == ["sender"]
    assert [r for r in ROLES if Actor("a", frozenset({"sender"}), "key").may(r)] == ["sender"]
    assert [r for r in ROLES if Actor("a", frozenset({"viewer"}), "key").may(r)] == ["viewer"]
    assert not Actor("a", frozenset({"operator"}), "key").may("auditor")
    assert not Actor("a", frozenset({"auditor"}), "key").may("operator")
    assert not Actor("a", frozenset(), "oidc").may("viewer")


@pytest.mark.parametrize("text", ["nonsense", "spl_" + "A" * 43, "", "x" * 5_000, "Ã©"])
def test_a_wrong_key_opens_nothing(console: Asked, text: str) -> None:
    """And is not written down."""
    answer = console.ask("/api/v1/me", headers={b"Authorization": f"Bearer {text}".encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(text) < 4 or text not in str(console.written())


def test_a_key_that_is_over_opens_nothing(console: Asked) -> None:
    """When its time is over, and within a second of its being revoked."""
    short = console.new_key("viewer", 60)
    console.clock.now += 2
    assert console.ask("/api/v1/me", key=short).json()["actor"] == "viewer@example.org"
    console.wall.now_us += 61_000_000
    assert console.ask("/api/v1/me", key=short).json() == {"error": "the key is expired"}
    assert console.ask("/api/v1/me", key="viewer").status_code == 200
    _revoke_all(console)
    console.clock.now += 2
    assert console.ask("/api/v1/me", key="viewer").json() == {"error": "the key is revoked"}


def _revoke_all(console: Asked) -> None:
    from streams.serving import keys

    for key in keys.read(console.keys_file):
        keys.change(
            console.keys_file,
            lambda held, id_=key.key_id: keys.revoked(held, id_, console.wall()),
        )


def test_wrong_keys_are_counted_by_address(console: Asked) -> None:
    """Ten, then a wait; who comes with a right one from elsewhere is not held up."""
    codes = [console.ask("/api/v1/me", key=f"wrong{n}").status_code for n in range(12)]
    assert codes == [401] * 10 + [429] * 2
    assert console.ask("/api/v1/me", key="viewer", client=("192.0.2.8", 1)).status_code == 200
    assert console.ask("/api/v1/me", key="viewer").status_code == 429
    console.clock.now += 6
    assert console.ask("/api/v1/me", key="viewer").status_code == 200


def test_who_asks_too_often_waits(tmp_path: Path) -> None:
    """429 with the seconds to wait; another one is not held up."""
    with asked(tmp_path, requests_per_second=0.5, requests_burst=3) as console:
        codes = [console.ask("/api/v1/me", key="viewer").status_code for _ in range(5)]
        assert codes == [200] * 3 + [429] * 2
        assert console.ask("/api/v1/me", key="viewer").headers["retry-after"] == "3"
        assert console.ask("/api/v1/me", key="operator").status_code == 200
        assert console.meters.refused["pace"] == 3
        console.clock.now += 2
        assert console.ask("/api/v1/me", key="viewer").status_code == 200


def test_a_login_is_a_cookie_that_no_script_reads(console: Asked) -> None:
    """It opens what its key opens, until it ends; the key itself is nowhere."""
    answer = console.ask(
        "/login",
        "POST",
        data={"key": console.tokens["operator"], "next": "/incidents"},
        headers={"Origin": BASE},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert console.tokens["operator"] not in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    assert console.ask("/api/v1/me", headers=headers).json() == {
        "actor": "operator@example.org", "roles": ["operator"], "may": ["viewer", "operator"],
        "login": "key",
    }  # fmt: skip
    console.wall.now_us += 28_800 * 1_000_000
    assert console.ask("/api/v1/me", headers=headers).status_code == 401
    (line,) = [one for one in console.written() if one["event"] == "login"]
    assert line["actor"] == "operator@example.org"
    assert "spl_" not in str(console.written())


def test_a_login_ends_with_its_key_and_by_logging_out(console: Asked) -> None:
    """Both at once, not when the cookie is over."""
    one, two = ({"Cookie": console.log_in()} for _ in range(2))
    console.ask("/logout", "POST", headers={**one, "Origin": BASE})
    assert console.ask("/api/v1/me", headers=one).status_code == 401
    assert console.ask("/api/v1/me", headers=two).status_code == 200
    _revoke_all(console)
    console.clock.now += 2
    assert console.ask("/api/v1/me", headers=two).status_code == 401


def test_news_end_with_their_login(console: Asked) -> None:
    """An answer that goes on is judged again: with a revoked key it ends, and sends no more."""
    sent: list[Any] = []

    async def forever(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(6):
            console.clock.now += 20
            if n == 2:
                _revoke_all(console)
            more = {"body": str(n).encode(), "more_body": True}
            await send({"type": "http.response.body", **more})

    async def keep(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        return {"type": "http.disconnect"}

    guard = Guard(forever, console.access, console.meters, lambda _: "/live")
    key = f"Bearer {console.tokens['viewer']}".encode()
    headers = [(b"host", b"localhost"), (b"authorization", key)]
    scope = {
        "type": "http", "method": "GET", "path": "/live", "raw_path": b"/live",
        "query_string": b"", "headers": headers, "client": ("192.0.2.7", 1),
    }  # fmt: skip
    asyncio.run(guard(scope, nothing, keep))
    bodies = [m["body"] for m in sent if m["type"] == "http.response.body"]
    assert bodies in ([b"0", b"1", b"2", b""], [b"0", b"1", b""])
    assert sent[-1].get("more_body", False) is False


def test_over_tls_the_cookie_belongs_to_the_host(tmp_path: Path) -> None:
    """Secure, with the prefix that browsers take from TLS alone, and TLS is asked for."""
    with asked(tmp_path, behind_tls_proxy=True, allowed_hosts=("c.example.org",)) as console:
        base = "https://c.example.org"
        answer = console.ask(
            "/login", "POST", data={"key": console.tokens["viewer"]}, base=base,
            headers={"Origin": base},
        )  # fmt: skip
        assert answer.headers["set-cookie"].startswith("__Host-spanloom=")
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": BASE}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
        ({"Origin": BASE}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
    ],
)
def test_a_page_of_another_site_orders_nothing(
    console: Asked, headers: dict[str, str], code: int
) -> None:
    """A cookie alone is not enough: the browser must say that the page is ours."""
    cookie = {"Cookie": console.log_in("operator")}
    answer = console.ask(ORDER, "POST", json=ACK, headers=cookie | headers)
    assert answer.status_code == code, answer.text
    assert len(console.ordered) == (code == 202)


def test_without_a_login_too_a_page_of_another_site_orders_nothing(tmp_path: Path) -> None:
    """Any page can reach the loopback of who reads it."""
    with asked(tmp_path, auth="none") as console:
        evil = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        assert console.ask(ORDER, "POST", json=ACK, headers=evil).status_code == 403
        assert console.ask(ORDER, "POST", json=ACK).status_code == 202
        assert console.ask("/api/v1/me", base="http://evil.example").status_code == 400


def test_people_are_led_to_the_login(console: Asked) -> None:
    """Programs get 401; a link of another site is asked again, with the cookie this time."""
    browser = {"Accept": "text/html"}
    answer = console.ask("/traces/ab?tab=1&x=%3C", headers=browser)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/traces/ab%3Ftab%3D1%26x%3D%253C"
    again = console.ask("/traces/ab?x=%22", headers={**browser, "Sec-Fetch-Site": "cross-site"})
    assert again.status_code == 200
    assert 'content="0;url=/traces/ab?x=%22"' in again.text


@given(st.text(max_size=40) | st.from_regex(r"[/\\]{1,3}[a-z.:/\\]{0,10}", fullmatch=True))
def test_a_login_leads_to_this_console_alone(text: str) -> None:
    """Whatever `next` says: a path of ours, never another host."""
    found = safe_next(text)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert found.isprintable()


def test_every_answer_has_the_headers_of_safety(console: Asked) -> None:
    """Found, not found, refused, logged in: nothing inline, no frame, nothing kept."""
    answers = [
        console.ask("/api/v1/me", key="viewer"),
        console.ask("/nowhere", key="viewer"),
        console.ask("/api/v1/me"),
        console.ask("/login"),
        console.ask("/api/v1/me", base="http://evil.example"),
    ]
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    page = console.ask("/login").text
    assert "<script" not in page
    assert "style=" not in page


def test_an_address_has_an_end(console: Asked) -> None:
    """414, before anything is looked at."""
    answer = console.ask("/api/v1/traces?flow=" + "x" * rules.URL_BYTES_MAX, key="viewer")
    assert answer.status_code == 414
    assert console.meters.refused["url"] == 1


@pytest.mark.parametrize(
    "cookie", ["spanloom=", "spanloom=x", "spanloom", '=;"', "spanloom=\x7f", "a" * 4000]
)
def test_a_made_up_cookie_opens_nothing(console: Asked, cookie: Any) -> None:
    """401, whatever it holds."""
    assert console.ask("/api/v1/me", headers={"Cookie": cookie}).status_code == 401
