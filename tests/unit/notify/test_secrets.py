"""Secrets come from variables and files, fit, and are shown nowhere."""

from pathlib import Path
from typing import Any

import pytest

from streams.errors import ConfigError
from streams.notify.process import credentials_of
from streams.notify.rules.signing import Key
from streams.notify.secrets import Credentials, read_credentials
from streams.notify.settings import load_notify_settings
from tests.unit.notify.targets import notify, target

SECRET = "0123456789abcdef-secret"


def fault(changed: dict[str, Any], *hosts: tuple[str, ...]) -> str:
    """Return what is wrong with a target's secrets and addresses, "" for nothing."""
    try:
        read_credentials(target(**changed), *hosts)
    except ConfigError as error:
        return str(error)
    return ""


def test_a_secret_is_read_from_a_variable_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line's end that editors add is no part of it; no repr shows any of it."""
    path = tmp_path / "key"
    path.write_text(SECRET + "\n", encoding="utf-8")
    monkeypatch.setenv("URL", f"https://hooks.example.org/{SECRET}")
    one = target(
        url={"env": "URL"},
        headers={"Authorization": {"file": str(path)}},
        signing=[{"key_id": "k1", "secret": {"file": str(path)}}],
        format="pagerduty",
        routing_key={"file": str(path)},
    )
    found = read_credentials(one, ())
    assert found.urls == (f"https://hooks.example.org/{SECRET}",)
    assert found.headers == {"authorization": SECRET}
    assert found.keys[0].secret == found.routing_key == SECRET
    assert SECRET not in repr(found)


def test_what_cannot_be_read_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Target, key, variable or file, and the fix; never the secret."""
    monkeypatch.delenv("NOT_SET", raising=False)
    assert "target one: url: variable NOT_SET is not set" in fault({"url": {"env": "NOT_SET"}})
    url = {"url": "https://a.example.org"}
    missing = {"headers": {"X-Key": {"file": str(tmp_path / "missing")}}}
    assert "headers.X-Key" in fault(url | missing)
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="utf-8")
    assert "holds 1 bytes" in fault(url | {"headers": {"X-Key": {"file": str(empty)}}})
    shared = tmp_path / "shared"
    shared.write_text(SECRET, encoding="utf-8")
    shared.chmod(0o666)
    assert "chmod o-w" in fault(url | {"headers": {"X-Key": {"file": str(shared)}}})
    monkeypatch.setenv("SHORT", "s3cret")
    short = fault(url | {"signing": [{"key_id": "k", "secret": {"env": "SHORT"}}]})
    assert "shorter than 16" in short
    assert "s3cret" not in short
    monkeypatch.setenv("LINES", "a\nb")
    assert "what no header may" in fault(url | {"headers": {"X-Key": {"env": "LINES"}}})


def test_an_address_from_a_variable_is_checked_like_one_in_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not there to be checked before; its path is not shown."""
    monkeypatch.setenv("URL", f"http://10.0.0.1/{SECRET}")
    said = fault({"url": {"env": "URL"}, "allow_plain_http": False, "allow_networks": []})
    assert "without TLS" in said
    assert "10.0.0.1 is not a public address" in said
    assert SECRET not in said


def test_each_list_of_hosts_must_hold_the_host() -> None:
    """Whoever runs the process can bound what a contract asks for."""
    url = {"url": "https://hooks.example.org/x"}
    assert fault(url, ("*.example.org",), ()) == ""
    assert "not in allow_hosts" in fault(url, ("*.example.org",), ("hooks.example.net",))


def test_all_targets_that_are_wrong_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start for the second mistake would be one too many."""
    monkeypatch.setenv("SPANLOOM_NOTIFY_HOSTS", '["a.example.org"]')
    one = target(id="one", url="https://b.example.org")
    two = target(id="two", url="https://c.example.org")
    three = target(id="three", url="https://a.example.org")
    with pytest.raises(ConfigError, match=r"target one: .*target two: "):
        credentials_of(notify(one, two, three), load_notify_settings())
    assert credentials_of(notify(three), load_notify_settings()).keys() == {"three"}


def test_a_receivers_words_are_shown_without_our_secrets() -> None:
    """Whoever refuses a request may repeat it, and its words are shown to people."""
    found = Credentials(
        (f"https://hooks.example.org/{SECRET}-path",),
        {"authorization": f"Bearer {SECRET}"},
        (Key("k", f"{SECRET}-key"),),
        f"{SECRET}-routing",
    )
    for ending in ("", "-path", "-key", "-routing"):
        assert SECRET not in found.hidden(f"no entry for {SECRET}{ending}, Bearer {SECRET}")
    assert found.hidden("Bearer of bad news at /x") == "Bearer of bad news at /x"
    assert Credentials().hidden("its words") == "its words"
