"""`spanloom archive`: what can be done with an archive besides asking a console about it."""

import asyncio
import contextlib
import getpass
import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import typer
from pydantic import ValidationError

from streams.cli.asking import KEY_VARIABLE
from streams.console.access.audit_log import AccessLog, folder_of
from streams.console.archive.archive import Archive
from streams.console.archive.erasing import Erased, erase
from streams.console.archive.iceberg import catalog_of, sync
from streams.console.archive.kinds import KINDS
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.archive.upkeep import holds_of
from streams.console.paths.erasure import Erasure, erased
from streams.console.paths.path import ConflictError
from streams.console.privacy import keys_of
from streams.console.settings import ConsoleSettings, load_console_settings
from streams.core.privacy.pseudonyms import Pseudonyms
from streams.errors import BrokerError, ConfigError, StateError, reason_of
from streams.runtime.state_folder import lock_folder

ACCEPTED: Final = 202
CONFLICT: Final = 409
TEXT_CHARS: Final = 500

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Work on a console's archive; a console may be writing it meanwhile."""


@app.command("iceberg")
def iceberg(
    catalog: list[str] = typer.Option(
        help="KEY=VALUE of the catalog, as pyiceberg names them: type, uri, warehouse; repeatable."
    ),
    archive: str | None = typer.Option(None, help="Folder of the archive, or a URL such as s3://."),
    namespace: str = typer.Option("spanloom", help="Of the tables; each is named as its kind."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Make Iceberg tables name the archive's files as they are now; nothing is copied.

    Run it as often as the tables shall be fresh. Needs pyiceberg: spanloom[iceberg].

    Example: spanloom archive iceberg --archive /var/lib/spanloom/archive --catalog type=sql
    --catalog uri=sqlite:////var/lib/spanloom/catalog.db --catalog warehouse=file:///var/lib/lake
    """
    properties = dict(map(_pair, catalog))
    opened = catalog_of(namespace, properties)
    files = Store(load_console_settings(archive=archive).archive).addresses()
    changes = {
        kind.name: sync(opened, namespace, kind.name, kind.schema, files.get(kind.name, []))
        for kind in KINDS
    }
    if as_json:
        typer.echo(json.dumps({name: change._asdict() for name, change in changes.items()}))
        return
    for name, change in changes.items():
        table = f"{namespace}.{name}"
        counts = f"{change.files:>7,} files, {change.added:,} new, {change.removed:,} gone"
        typer.echo(f"{table:<24} {counts}")


@app.command("erase")
def erase_person(
    reason: str = typer.Option(help="Why; it is written down, so let it not name the person."),
    person_file: Path | None = typer.Option(
        None, help="File with the value that stands for the person in events; - reads it in."
    ),
    pseudonym: str | None = typer.Option(None, help="Instead: the pseudonym, such as ~k1:..."),
    archive: str | None = typer.Option(None, help="Folder of the archive, or a URL such as s3://."),
    console: str | None = typer.Option(
        None, help=f"Address of the console that writes it; a key is taken from {KEY_VARIABLE}."
    ),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Replace a person's pseudonyms in all that an archive has, by ~erased.

    While a console writes the archive it has to do so: name it with --console. Refused as a whole
    when some of it is under a hold. What was ended in the midst is finished by the next run.

    Example: spanloom archive erase --person-file - --reason "request 17" --archive /srv/archive
    """
    given: dict[str, Any] = {"reason": reason}
    if person_file is not None:
        given["person"] = secret_of(person_file)
    if pseudonym is not None:
        given["pseudonym"] = pseudonym
    try:
        asked = Erasure.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"--{first['loc'][0]}: {first['msg']}") from error
    found = _order(console, given) if console else _erase(archive, asked)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for kind, rows in sorted(found["rows"].items()):
        typer.echo(f"{kind:<12} {rows:>9,} rows")
    typer.echo(f"{'files':<12} {found['files']:>9,} replaced")


def secret_of(path: Path) -> str:
    """Return the text of a file, or of standard input, without its line's end.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--person-file {path}: cannot be read ({reason_of(error)})") from error
    return text.rstrip("\r\n")


def _erase(archive: str | None, asked: Erasure) -> dict[str, Any]:
    """Erase in an archive that no console writes.

    Raises:
        ConfigError, ConflictError, OSError: as `erased`.
        StateError: a console writes it, or the access log cannot be written.
    """
    settings = load_console_settings(archive=archive)
    store = Store(settings.archive)
    with contextlib.ExitStack() as held:
        if store.folder is not None:
            lock = lock_folder(
                store.folder,
                "let this command write there",
                "let the console that writes it do so, with --console",
            )
            held.callback(os.close, lock)
        return _erased_in(store, settings, asked)


def _erased_in(store: Store, settings: ConsoleSettings, asked: Erasure) -> dict[str, Any]:
    keys = keys_of(settings)
    log = AccessLog(folder_of(store.folder, settings.access_log_dir))
    who = getpass.getuser()
    log.write("order", "asked", actor=who, command="archive erase", reason=asked.reason)

    def do(pseudonyms: Collection[str]) -> Erased:
        return erase(Archive(store, Limits()), pseudonyms, holds_of(settings.holds))

    known = Pseudonyms(keys) if keys else None
    try:
        return erased(asked, who, known, do, log)
    except ConflictError as error:
        raise StateError(f"{error}. Operator action: end the hold, and run it again.") from error
    except OSError as error:
        raise StateError(
            f"the erasure was not finished: {error}. Operator action: give the archive room and "
            "rights, and run it again: it does what is left."
        ) from error


def _order(console: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Order an erasure of a console, and wait for its end.

    Raises:
        ConfigError, StateError, BrokerError: the console refuses it, cannot do it, or is away.
    """
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask() -> tuple[int, str]:
        forever = aiohttp.ClientTimeout(None)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=forever) as session,
            session.post(f"{console.rstrip('/')}/api/v1/privacy/erasures", json=given) as answer,
        ):
            return answer.status, await answer.text()

    try:
        status, text = asyncio.run(ask())
    except (aiohttp.ClientError, ValueError) as error:
        raise BrokerError(
            f"no console answers at {console}: {error}. Operator action: start one with "
            "`spanloom console`, or name another with --console."
        ) from error
    if status == ACCEPTED:
        found: dict[str, Any] = json.loads(text)
        return found
    why = f"the console answered {status}: {text[:TEXT_CHARS]}"
    if status < CONFLICT:
        raise ConfigError(why)
    raise StateError(f"{why}. Operator action: see what it says, and run it again.")


def _pair(text: str) -> tuple[str, str]:
    name, is_pair, value = text.partition("=")
    if not (name and is_pair):
        raise ConfigError(f"--catalog {text}: write it as KEY=VALUE, such as type=sql")
    return name, value
