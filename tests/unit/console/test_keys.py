"""The file of keys: whole or not used, and a change is seen."""

import json
import os
from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.serving import keys
from streams.serving.keys import KeyRing
from tests.unit.console.at_hand import Clock

SECOND = 1_000_000


def made(path: Path, actor: str = "a", seconds: float = 10) -> tuple[str, keys.Key]:
    text, key = keys.make(actor, "viewer", 0, seconds)
    keys.change(path, lambda held: [*held, key])
    return text, key


def test_a_key_opens_until_its_time_is_over(tmp_path: Path) -> None:
    """[created, expires)."""
    text, _ = made(tmp_path / "k")
    ring = KeyRing(tmp_path / "k")
    assert ring.actor(text, 10 * SECOND - 1)[0] is not None
    assert ring.actor(text, 10 * SECOND) == (None, "expired")
    assert ring.actor(text[:-1], 0) == (None, "unknown")
    assert ring.actor("\udcff", 0) == (None, "unknown")


def test_a_change_is_seen_within_a_second(tmp_path: Path) -> None:
    """New ones open, revoked ones do not, and a file that is gone or broken opens nothing."""
    path, clock = tmp_path / "k", Clock()
    one, key = made(path)
    ring = KeyRing(path, clock)
    two, _ = made(path, "b")
    clock.now += 1
    assert ring.actor(two, 0)[0] is not None
    keys.change(path, lambda held: keys.revoked(held, key.key_id, 5))
    clock.now += 1
    assert ring.actor(one, 0) == (None, "revoked")
    assert ring.actor_of(key.key_id, 0) == (None, "revoked")
    whole = path.read_text()
    for broken in ("{", None):
        path.write_text(broken) if broken else path.unlink()
        clock.now += 1
        assert ring.actor(two, 0) == (None, "unknown")
        assert "keys_file" in ring.failed
    path.write_text(whole)
    clock.now += 1
    assert ring.actor(two, 0)[0] is not None
    assert ring.failed == ""


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever can write it can give themselves a key."""
    made(tmp_path / "k")
    os.chmod(tmp_path / "k", 0o620)
    with pytest.raises(ConfigError, match="chmod go-w"):
        KeyRing(tmp_path / "k")


@pytest.mark.parametrize(
    "change",
    [
        {"role": "king"}, {"sha256": "ab"}, {"expires_us": "never"}, {"expires_us": True},
        {"actor": ""}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_key_that_is_not_whole_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """The file is used whole or not at all."""
    _, key = made(tmp_path / "k")
    (tmp_path / "k").write_text(json.dumps({"keys": [{**key._asdict(), **change}]}))
    with pytest.raises(ConfigError, match="no file of keys"):
        KeyRing(tmp_path / "k")
