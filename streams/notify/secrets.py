"""Secrets of targets, read from variables and files when the process starts.

Invariant: a secret is in no repr, no log and no message: those name the variable or the file.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streams.contract.notify import Secret, Target, Value
from streams.contract.notify_checks import url_faults
from streams.errors import ConfigError
from streams.notify.rules.signing import SECRET_CHARACTERS_MIN, Key
from streams.settings import secret_text

_HIDDEN_CHARACTERS_MIN: Final = 8
"""Shorter texts are words such as Bearer or /hook, and would tear holes into an answer."""


@dataclass(frozen=True)
class Credentials:
    """What a target's requests are made with; never shown.

    Attributes:
        urls: addresses; they may hold a secret themselves.
        headers: sent with each request.
        keys: that sign bodies.
        routing_key: of format pagerduty, else "".
    """

    urls: tuple[str, ...] = field(repr=False, default=())
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    keys: tuple[Key, ...] = ()
    routing_key: str = field(repr=False, default="")

    def hidden(self, text: str) -> str:
        """Return a text that somebody else wrote, with three stars in place of each secret."""
        words = [word for value in self.headers.values() for word in (value, *value.split())]
        paths = [urlsplit(url).path for url in self.urls]
        keys = [key.secret for key in self.keys]
        said = {*self.urls, *paths, *words, *keys, self.routing_key}
        for secret in sorted(said, key=len, reverse=True):
            if len(secret) >= _HIDDEN_CHARACTERS_MIN:
                text = text.replace(secret, "***")
        return text


def read_credentials(target: Target, *hosts: tuple[str, ...]) -> Credentials:
    """Return a target's addresses and secrets.

    Args:
        target: as the file says.
        hosts: lists of the only hosts that may be called, each of which must hold a host; an empty
            list holds any.

    Raises:
        ConfigError: one cannot be read or does not fit; names target, key and fix.
    """
    given = (target.url, *target.urls) if target.url is not None else target.urls
    urls = tuple(_read(one, f"target {target.id}: url") for one in given)
    headers = {
        name.lower(): _read(one, f"target {target.id}: headers.{name}")
        for name, one in target.headers.items()
    }
    keys = tuple(
        Key(one.key_id, _read(one.secret, f"target {target.id}: signing.{one.key_id}"))
        for one in target.signing
    )
    routing_key = ""
    if target.routing_key is not None:
        routing_key = _read(target.routing_key, f"target {target.id}: routing_key")
    faults = [
        *_url_faults(target, urls, hosts or ((),), bool(headers)),
        *_text_faults(target, headers, keys),
    ]
    if faults:
        raise ConfigError("; ".join(faults))
    return Credentials(urls, headers, keys, routing_key)


def _url_faults(
    target: Target, urls: tuple[str, ...], hosts: Iterable[tuple[str, ...]], has_headers: bool
) -> Iterator[str]:
    """Check an address here too: one from a variable was not in the file."""
    is_plain_allowed = target.allow_plain_http or (
        target.kind == "alertmanager" and not has_headers
    )
    networks = list(target.allow_networks)
    for url in urls:
        faults = [
            f for one in hosts for f in url_faults(url, networks, list(one), is_plain_allowed)
        ]
        for fault in dict.fromkeys(faults):
            yield f"target {target.id}: url {fault}"


def _text_faults(
    target: Target, headers: Mapping[str, str], keys: tuple[Key, ...]
) -> Iterator[str]:
    for name, text in headers.items():
        if not text.isascii() or not text.isprintable():
            yield f"target {target.id}: headers.{name} holds what no header may; give ASCII text"
    for key in keys:
        if len(key.secret) < SECRET_CHARACTERS_MIN:
            yield (
                f"target {target.id}: signing.{key.key_id} is shorter than "
                f"{SECRET_CHARACTERS_MIN} characters; make one with `openssl rand -hex 32`"
            )


def _read(given: Value | Secret, place: str) -> str:
    if isinstance(given, Value) and given.text is not None:
        return given.text
    if given.env is not None:
        text = os.environ.get(given.env, "")
        if not text:
            raise ConfigError(f"{place}: variable {given.env} is not set; set it, or give a file")
        return text
    assert given.file is not None, "the checks of the file say so"
    return secret_text(Path(given.file), f"{place}: {given.file}")
