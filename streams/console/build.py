"""Puts the interface together: who may ask, what can be asked, what can be ordered.

Owns which paths there are. It makes objects and starts nothing.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path as FilePath
from typing import NamedTuple

from starlette.routing import Route

from streams.console.access import login
from streams.console.access.audit_log import AccessLog, folder_of
from streams.console.access.gate import Access
from streams.console.access.oidc import Provider
from streams.console.api import Interface
from streams.console.paths import about, commands, erasure, rejected
from streams.console.paths.path import Path
from streams.console.questions.queries import Queries
from streams.console.redriven import Origin, Redriven
from streams.console.settings import ConsoleSettings
from streams.core.privacy.records import Privacy
from streams.errors import ConfigError
from streams.runtime import commanding, sending, topics
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from streams.serving.keys import KeyRing
from streams.serving.meters import RequestMeters

_SECRET_FREE = (
    "auth", "address", "port", "allowed_hosts", "behind_tls_proxy", "public_url", "oidc_issuer",
    "oidc_client_id", "oidc_name_claim", "oidc_role_claim", "oidc_roles", "session_seconds",
)  # fmt: skip
"""Settings of access that are written down at the start."""


class Built(NamedTuple):
    """The parts of an interface."""

    interface: Interface
    paths: tuple[Path, ...]
    logins: Sequence[Route]


def access_of(settings: ConsoleSettings, archive: FilePath | None) -> Access:
    """Return the rules of a console, and write down with which settings they begin.

    Raises:
        ConfigError: the keys cannot be used.
        StateError: the access log cannot be written.
    """
    log = AccessLog(folder_of(archive, settings.access_log_dir))
    keys = None
    if settings.auth == "keys" and settings.keys_file is not None:
        keys = KeyRing(settings.keys_file)
    shown = {name: getattr(settings, name) for name in _SECRET_FREE}
    log.write("start", "begun", settings=shown)
    return Access(settings, log, keys)


def build(
    settings: ConsoleSettings,
    archive: FilePath | None,
    queries: Queries,
    workers: Executor,
    orders: Executor,
    link: Link,
    prefix: str,
    lags: about.Lags,
    privacy: Privacy | None = None,
    erase: erasure.Erase | None = None,
) -> Built:
    """Return the parts of the interface.

    Args:
        settings: of the console.
        archive: its folder; None for a bucket.
        queries: asks the archive.
        workers: threads that questions are asked in.
        orders: threads that orders are given in.
        link: how to reach the broker.
        prefix: of the names of derived topics.
        lags: how far reading is.
        privacy: what the archive has in place of what is personal.
        erase: replaces pseudonyms in the archive; None for a console that cannot.

    Raises:
        ConfigError, StateError: as `access_of`, or what was driven again cannot be read.
    """
    access, meters = access_of(settings, archive), RequestMeters()
    book = Redriven(folder_of(archive, settings.access_log_dir))
    logins = list(login.routes(access, meters))
    if settings.auth == "oidc":
        logins += Provider(access, meters).routes()

    def give(command: commands.Record) -> None:
        commanding.send(link, prefix + topics.COMMANDS, command)

    def fetch(origin: Origin) -> rejected.Whole | None:
        return _whole_at(link, origin)

    def send(record: sending.Outgoing) -> int:
        again = "say again=true once it is known not to be in its topic."
        return sending.send(link, record, "the record", again)

    paths: tuple[Path, ...] = (
        *commands.paths(give),
        *rejected.paths(book, fetch, send, is_treated=privacy is not None),
        *about.paths(lags),
    )
    if erase is not None:
        known = None if privacy is None else privacy.pseudonyms
        paths = (*paths, *erasure.paths(known, erase, access.log))
    return Built(Interface(queries, workers, orders, access, meters, privacy), paths, logins)


def _whole_at(link: Link, origin: Origin) -> rejected.Whole | None:
    """Return a record as its topic holds it, None when it is gone.

    Raises:
        BrokerError: the broker does not answer.
    """
    at = (origin.topic, origin.partition)
    with Reading(link) as reading:
        try:
            span = reading.spans([origin.topic]).get(at)
        except ConfigError:
            return None  # the topic was deleted
        if span is None or not span.low <= origin.offset < span.high:
            return None
        for message in reading.records({at: origin.offset}):
            if message is not None:
                is_it = message.offset == origin.offset
                return rejected.Whole(message.key, message.value) if is_it else None
    return None
