"""`spanloom console-key`: make, list and revoke the keys that the console is asked with.

Owns the words and the output. A key is shown once, on standard output alone; each change is written
to the access log first.
"""

import getpass
import json
from pathlib import Path
from typing import Any

import typer

from streams.cli.lines import clean
from streams.cli.moments import flag_length_us
from streams.cli.tables import columns_of, print_table, terminal
from streams.console.access.audit_log import AccessLog, folder_of
from streams.console.settings import read_console_settings
from streams.console.times import iso
from streams.errors import ConfigError
from streams.runtime.clock import wall_us
from streams.serving import keys
from streams.serving.roles import ROLES
from streams.units import LENGTH_FORM, SECOND_US

app = typer.Typer(no_args_is_help=True)

FILE = typer.Option(None, "--file", help="File of keys; SPANLOOM_CONSOLE_KEYS_FILE if absent.")
AS_JSON = typer.Option(False, "--json", help="Write one JSON object instead of text.")


@app.callback()
def root() -> None:
    """Make, list and revoke the keys that the console is asked with."""


@app.command("new")
def new(
    actor: str = typer.Option(help="Who will have it; orders and the access log name them so."),
    role: str = typer.Option("viewer", help=f"What it grants: {', '.join(ROLES)}."),
    lasts: str = typer.Option("90d", "--for", help=f"How long it opens: {LENGTH_FORM}."),
    file: Path | None = FILE,
    as_json: bool = AS_JSON,
) -> None:
    """Make a key and show it, once: the file holds what it is known by, and not the key.

    Example: spanloom console-key new --actor alice@example.org --role operator --for 30d
    """
    path, log = _place(file)
    if role not in ROLES:
        raise ConfigError(f"--role {role}: one of {', '.join(ROLES)}")
    lasts_seconds = flag_length_us(lasts, "--for") / SECOND_US
    text, key = keys.make(actor, ROLES[ROLES.index(role)], wall_us(), lasts_seconds)
    _written(log, "key_made", key)
    keys.change(path, lambda held: [*held, key])
    if as_json:
        typer.echo(json.dumps({"key": text, **_shown(key)}))
        return
    typer.echo(f"made key {key.key_id} of {actor}, {role}, until {iso(key.expires_us)}", err=True)
    typer.echo("it is shown this once:", err=True)
    typer.echo(text)


@app.command("list")
def show(file: Path | None = FILE, as_json: bool = AS_JSON) -> None:
    """Show the keys: who has them, what they grant, until when.

    Example: spanloom console-key list --json
    """
    path, _ = _place(file)
    found = [_shown(key) for key in keys.read(path)]
    if as_json:
        typer.echo(json.dumps({"keys": found}))
        return
    names = ("key_id", "actor", "role", "state", "expires")
    rows = [[clean(str(one[name])) for name in names] for one in found]
    print_table(terminal(), "", columns_of("key", *names[1:]), rows)


@app.command("revoke")
def revoke(
    key_id: str = typer.Argument(help="Id of the key, as `list` shows it."),
    file: Path | None = FILE,
    as_json: bool = AS_JSON,
) -> None:
    """Take a key back: a console that runs knows it within a second, logins made with it end.

    Example: spanloom console-key revoke 5f0c1a2b3d4e
    """
    path, log = _place(file)
    now_us = wall_us()
    (key,) = [k for k in keys.revoked(keys.read(path), key_id, now_us) if k.key_id == key_id]
    _written(log, "key_revoked", key)
    keys.change(path, lambda held: keys.revoked(held, key_id, now_us))
    if as_json:
        typer.echo(json.dumps(_shown(key)))
    else:
        typer.echo(f"revoked key {key_id} of {clean(key.actor)}")


def _place(file: Path | None) -> tuple[Path, AccessLog]:
    """Return the file of keys and the book that changes of it are written to."""
    settings = read_console_settings(keys_file=file)
    if settings.keys_file is None:
        raise ConfigError("name the file of keys with --file or SPANLOOM_CONSOLE_KEYS_FILE")
    archive = None if "://" in settings.archive else Path(settings.archive).absolute()
    return settings.keys_file, AccessLog(folder_of(archive, settings.access_log_dir))


def _written(log: AccessLog, event: Any, key: keys.Key) -> None:
    log.write(
        event,
        "asked",
        by=getpass.getuser(),
        actor=key.actor,
        roles=[key.role],
        key_id=key.key_id,
        expires=iso(key.expires_us),
    )


def _shown(key: keys.Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "actor": key.actor,
        "role": key.role,
        "state": key.state(wall_us()),
        "created": iso(key.created_us),
        "expires": iso(key.expires_us),
        "revoked": iso(key.revoked_us),
    }
