"""Settings that would let strangers in are refused, with the variable that mends it."""

from pathlib import Path
from typing import Any

import pytest

from streams.console.settings import load_console_settings
from streams.errors import ConfigError

FAR: dict[str, Any] = {"address": "0.0.0.0"}
KEYS: dict[str, Any] = {"auth": "keys", "keys_file": Path("k")}
HOSTS: dict[str, Any] = {"allowed_hosts": ("c.example.org",)}
PROXY: dict[str, Any] = {"behind_tls_proxy": True}
OIDC: dict[str, Any] = {
    "auth": "oidc", "oidc_issuer": "https://id.example.org", "oidc_client_id": "c",
    "oidc_client_secret_file": Path("s"), "oidc_roles": {"sre": "operator"},
    "public_url": "https://c.example.org",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        (FAR, "SPANLOOM_CONSOLE_ADDRESS"),
        (FAR | PROXY | HOSTS, "SPANLOOM_CONSOLE_ADDRESS"),
        (FAR | KEYS | HOSTS, "SPANLOOM_CONSOLE_TLS_CERTIFICATE_FILE"),
        (FAR | KEYS | PROXY, "SPANLOOM_CONSOLE_ALLOWED_HOSTS"),
        (FAR | KEYS | PROXY | {"allowed_hosts": ("*",)}, "SPANLOOM_CONSOLE_ALLOWED_HOSTS"),
        (HOSTS, "SPANLOOM_CONSOLE_ALLOWED_HOSTS"),
        ({"tls_key_file": Path("k")}, "SPANLOOM_CONSOLE_TLS_CERTIFICATE_FILE"),
        ({"auth": "keys"}, "SPANLOOM_CONSOLE_KEYS_FILE"),
        (KEYS | {"archive": "s3://bucket/a"}, "SPANLOOM_CONSOLE_ACCESS_LOG_DIR"),
        (OIDC, "SPANLOOM_CONSOLE_ALLOWED_HOSTS"),
        (OIDC | HOSTS | {"oidc_roles": {}}, "SPANLOOM_CONSOLE_OIDC_ROLES"),
        (OIDC | HOSTS | {"oidc_roles": {"a": "king"}}, "SPANLOOM_CONSOLE_OIDC_ROLES"),
        (OIDC | HOSTS | {"oidc_issuer": "http://id.example.org"}, "SPANLOOM_CONSOLE_OIDC_ISSUER"),
        (OIDC | HOSTS | {"oidc_client_id": ""}, "SPANLOOM_CONSOLE_OIDC_CLIENT_ID"),
        ({"auth": "basic"}, "SPANLOOM_CONSOLE_AUTH"),
    ],
)
def test_what_would_let_strangers_in_is_refused(given: dict[str, Any], variable: str) -> None:
    """At the start, by name."""
    with pytest.raises(ConfigError, match=variable):
        load_console_settings(**given)


@pytest.mark.parametrize(
    "given",
    [
        {}, KEYS, {"address": "::1"}, FAR | KEYS | HOSTS | PROXY, OIDC | HOSTS,
        FAR | OIDC | HOSTS | {"tls_certificate_file": Path("c"), "tls_key_file": Path("k")},
    ],
)  # fmt: skip
def test_what_is_safe_is_allowed(given: dict[str, Any]) -> None:
    """The loopback, and beyond it with a login, TLS and names."""
    assert load_console_settings(**given).hosts[:3] == ("127.0.0.1", "::1", "localhost")


def test_lists_and_roles_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is no JSON is told by an example."""
    monkeypatch.setenv("SPANLOOM_CONSOLE_OIDC_ROLES", '{"sre": "admin"}')
    assert load_console_settings().oidc_roles == {"sre": "admin"}
    monkeypatch.setenv("SPANLOOM_CONSOLE_OIDC_ROLES", "sre=admin")
    with pytest.raises(ConfigError, match=r'\{"group": "viewer"\}'):
        load_console_settings()
