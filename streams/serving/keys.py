"""Keys of a server: made, listed, revoked, and looked up when somebody comes with one.

Owns the file of keys. It holds SHA-256 of each key and never a key: a key is 256 random bits, which
nobody can guess from its hash, so that a slow hash would protect nothing and cost each request.
Invariants: the file is replaced as a whole, by one writer at a time; a key that was revoked or has
expired opens nothing from the next look on, `LOOK_SECONDS` later at most.
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from streams.errors import ConfigError, StateError
from streams.serving.roles import ROLES, Actor, Role
from streams.serving.wholefiles import PRIVATE, replace_file

PREFIX: Final = "spl_"
"""Begins each key, so that scanners of repositories and logs can know one."""
KEY_BITS: Final = 256
KEYS_MAX: Final = 10_000
FILE_BYTES_MAX: Final = 8 << 20
NAME_CHARS_MAX: Final = 200
LOOK_SECONDS: Final = 1.0
OF_THE_CONSOLE: Final = "console_keys_file (SPANLOOM_CONSOLE_KEYS_FILE)"

log = structlog.get_logger()


class Key(NamedTuple):
    """One key: all but itself.

    Attributes:
        key_id: names it; no secret.
        sha256: of the key's text, in hexadecimal.
        actor: who has it.
        role: what it grants.
        created_us, expires_us: from when until when it opens.
        revoked_us: when it was taken back; 0 for never.
    """

    key_id: str
    sha256: str
    actor: str
    role: Role
    created_us: int
    expires_us: int
    revoked_us: int = 0

    def state(self, now_us: int) -> str:
        """Return valid, expired or revoked."""
        if self.revoked_us:
            return "revoked"
        return "valid" if now_us < self.expires_us else "expired"


def hash_of(text: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def make(actor: str, role: Role, now_us: int, seconds: float) -> tuple[str, Key]:
    """Return a new key's text, which is told once, and what is kept of it.

    Raises:
        ConfigError: the actor's name is none.
    """
    if not actor.strip() or len(actor) > NAME_CHARS_MAX or not actor.isprintable():
        raise ConfigError(f"--actor: a name of 1 to {NAME_CHARS_MAX} characters that can be shown")
    random = secrets.token_bytes(KEY_BITS // 8)
    text = PREFIX + base64.urlsafe_b64encode(random).decode().rstrip("=")
    expires_us = now_us + round(seconds * 1_000_000)
    return text, Key(secrets.token_hex(6), hash_of(text), actor, role, now_us, expires_us)


def read(path: Path, setting: str = OF_THE_CONSOLE) -> list[Key]:
    """Return the keys of a file; `setting` is what names it in messages.

    Raises:
        ConfigError: it cannot be read, is no file of keys, or others may write it.
    """
    place = f"{setting}: {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{place}: {error.strerror}; make one with `spanloom console-key new`"
        ) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{place}: others can write it: chmod go-w {path}")
    try:
        if len(text) > FILE_BYTES_MAX:
            raise ValueError("too long")
        keys = [Key(**one) for one in json.loads(text)["keys"]]
        if not all(map(_is_whole, keys)):
            raise ValueError("a key lacks what it must have")
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{place}: is no file of keys ({error}); take it from a backup, or begin another"
        ) from error
    return keys


def _is_whole(key: Key) -> bool:
    found: tuple[Any, ...] = key  # what a file says may be of any type
    texts = all(isinstance(one, str) and one for one in found[:4])
    times = all(type(one) is int for one in found[4:])
    return texts and times and key.role in ROLES and len(key.sha256) == 64


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Hold others off meanwhile: a lock of a file beside it, which stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the keys in {path} cannot be written: {error.strerror}. Operator action: let this user "
        "write the file and its folder."
    )


def change(path: Path, changed: Callable[[list[Key]], list[Key]]) -> None:
    """Replace the keys of a file by what a function makes of them; there need not be a file.

    Raises:
        ConfigError: as `read`, or there are too many.
        StateError: it cannot be written; it is as it was.
    """
    with _only_writer(path):
        keys = changed(read(path) if path.exists() else [])
        if len(keys) > KEYS_MAX:
            raise ConfigError(f"{path} holds {KEYS_MAX} keys: revoke some, or begin another file")
        text = json.dumps({"keys": [key._asdict() for key in keys]}, indent=1) + "\n"
        try:
            replace_file(path, text.encode(), PRIVATE)
        except OSError as error:
            raise _cannot_write(path, error) from error


def revoked(keys: list[Key], key_id: str, now_us: int) -> list[Key]:
    """Return the keys with one taken back; one that was already stays as it was.

    Raises:
        ConfigError: there is none of that id.
    """
    if key_id not in {key.key_id for key in keys}:
        raise ConfigError(f"{key_id}: no such key; `spanloom console-key list` shows them")
    return [
        key._replace(revoked_us=key.revoked_us or now_us) if key.key_id == key_id else key
        for key in keys
    ]


class KeyRing:
    """The keys of a file, read again when the file has changed.

    Args:
        path: of the file.
        clock: seconds that only go forward.
        setting: names the file in messages.

    Raises:
        ConfigError: as `read`.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        setting: str = OF_THE_CONSOLE,
    ) -> None:
        self._path, self._clock, self._setting = path, clock, setting
        self._by_hash: dict[str, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._looked = clock()
        self._seen = self._mark()
        self._take(read(path, setting))
        self.failed = ""
        """Why the file could not be read when it was last looked at: nobody has a key meanwhile."""

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _take(self, keys: list[Key]) -> None:
        self._by_hash = {key.sha256: key for key in keys}
        self._by_id = {key.key_id: key for key in keys}

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        mark = self._mark()
        if mark == self._seen and not self.failed:
            return
        try:
            self._take(read(self._path, self._setting))
            self._seen, self.failed = mark, ""
        except ConfigError as error:
            self._take([])
            if str(error) != self.failed:
                log.error("keys_unreadable", error=str(error))
            self.failed = str(error)

    def actor(self, text: str, now_us: int) -> tuple[Actor | None, str]:
        """Return who comes with a key, or None and why: unknown, expired, revoked."""
        self._look()
        # Looked up by hash: how long that takes tells nothing about a key.
        return _judged(self._by_hash.get(hash_of(text)), now_us)

    def actor_of(self, key_id: str, now_us: int) -> tuple[Actor | None, str]:
        """Return who has the key of an id, as `actor` does."""
        self._look()
        return _judged(self._by_id.get(key_id), now_us)


def _judged(key: Key | None, now_us: int) -> tuple[Actor | None, str]:
    state = "unknown" if key is None else key.state(now_us)
    if key is None or state != "valid":
        return None, state
    return Actor(key.actor, frozenset({key.role}), "key", key.key_id), ""
