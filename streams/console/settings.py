"""Settings of the console, besides those of every command.

Owns what may be combined: what would let a stranger in is refused at the start.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from streams.console.archive.kinds import KIND
from streams.console.archive.summaries import SUMMARIES
from streams.errors import ConfigError
from streams.serving.roles import Role
from streams.setting_checks import SaneSettings
from streams.settings import is_loopback, load_settings, refuse_misspelt, wrong_settings

_PREFIX: Final = "SPANLOOM_CONSOLE_"
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""What may be listened on, and the only names that are answered, while nobody logs in."""


class ConsoleSettings(SaneSettings):
    """What the console can be told.

    Attributes:
        archive: a folder, or a URL such as s3://bucket/folder.
        port: where it serves.
        address: on which it listens; the loopback alone while nobody logs in.
        auth: who may ask: none, whoever has a key, whoever an OpenID provider vouches for.
        keys_file: keys of --auth keys, by their hashes.
        oidc_issuer: address of the OpenID provider; with --auth oidc.
        oidc_client_id, oidc_client_secret_file: who the console is to the provider.
        oidc_name_claim: the claim that says who somebody is; `sub` where it is not given.
        oidc_role_claim: the claim whose values decide on roles.
        oidc_roles: role by value of that claim; whoever has none of them is not let in.
        oidc_scopes: what the provider is asked for.
        public_url: where browsers find the console; with --auth oidc.
        allowed_hosts: names that it is asked by, besides the loopback's.
        tls_certificate_file, tls_key_file: of HTTPS.
        behind_tls_proxy: HTTPS ends before the console.
        trusted_proxies: addresses whose word on where a request comes from is taken.
        access_log_dir: where decisions on access are written; a folder of the archive if absent.
        orders_closed_file: while this file is there no orders to workers are taken, for the reason
            that it says; absent, they always are.
        session_seconds: how long a login lasts.
        sessions_max: logins at once; the oldest ends for a new one.
        requests_per_second, requests_burst: what one client may ask.
        connections_max: connections at once.
        questions_waiting_max: questions that wait for a thread.
        query_seconds: a question that takes longer is stopped.
        result_bytes_max: of the records that an answer is made of.
        answers_bytes_max: of all answers that were made and not taken yet.
        file_rows: a file is written at so many records of a partition, ...
        file_bytes: ... or so many bytes of them, ...
        file_seconds: ... or so long after the first of them.
        merge_files: so many files of about one size become one while their hour goes on.
        merge_seconds: so often it is looked for files that should become one, or are too old.
        keep_days: by kind, how long it is kept; a kind that is not named is kept for ever.
        keep_minute_days: by kind, until what age there are summaries by minute; older ones become
            summaries by hour. Of a kind that is not named they stay.
        keep_hour_days: by kind, until what age there are summaries by hour.
        holds: a YAML list of what is kept whatever its age.
        pseudonym_keys_file: lines `ID SECRET`: what pseudonyms are made with; the first makes new
            ones, all are searched by. When the contract classes fields as personal and there is
            none, the keys of edges and workers (SPANLOOM_PSEUDONYM_KEYS_FILE) are used; without
            those the console makes one beside its folder, and for a bucket it has to be given.
        pseudonym_keys: the same lines, in the variable itself; commas may stand between them.
        query_memory_bytes: DuckDB takes no more; a question that needs more fails.
        query_spill_bytes: on disk, for what does not fit in it; 0 for none.
        query_threads: questions that are answered at once, and threads of each.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    archive: str = Field(default="spanloom-archive", min_length=1)
    port: int = Field(default=8090, ge=1, le=65_535)
    address: str = "127.0.0.1"

    auth: Literal["none", "keys", "oidc"] = "none"
    keys_file: Path | None = None
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    oidc_name_claim: str = "email"
    oidc_role_claim: str = "groups"
    oidc_roles: dict[str, Role] = Field(default_factory=dict)
    oidc_scopes: str = "openid profile email"
    public_url: str = ""
    allowed_hosts: tuple[str, ...] = ()
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    behind_tls_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    access_log_dir: Path | None = None
    orders_closed_file: Path | None = None
    session_seconds: float = Field(default=28_800, ge=60)
    sessions_max: int = Field(default=10_000, ge=1)

    requests_per_second: float = Field(default=100, gt=0)
    requests_burst: int = Field(default=2_500, ge=1)
    connections_max: int = Field(default=2_500, ge=10)
    questions_waiting_max: int = Field(default=64, ge=1)
    query_seconds: float = Field(default=30, gt=0)
    result_bytes_max: int = Field(default=16 << 20, ge=4 << 20)
    answers_bytes_max: int = Field(default=256 << 20, ge=1 << 20)

    file_rows: int = Field(default=20_000, ge=1)
    file_bytes: int = Field(default=64 << 20, ge=1 << 16)
    file_seconds: float = Field(default=60, gt=0)
    merge_files: int = Field(default=12, ge=2, le=100)
    merge_seconds: float = Field(default=10, gt=0)
    keep_days: dict[str, float] = Field(default_factory=dict)
    keep_minute_days: dict[str, float] = Field(default_factory=dict)
    keep_hour_days: dict[str, float] = Field(default_factory=dict)
    holds: Path | None = None
    pseudonym_keys_file: Path | None = None
    pseudonym_keys: SecretStr = SecretStr("")
    query_memory_bytes: int = Field(default=1 << 30, ge=64 << 20)
    query_spill_bytes: int = Field(default=4 << 30, ge=0)
    query_threads: int = Field(default=2, ge=1)

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers speak to it over TLS, here or before a proxy."""
        return self.tls_certificate_file is not None or self.behind_tls_proxy

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that it may be asked by."""
        return (*LOOPBACK, *self.allowed_hosts)

    @property
    def scheme(self) -> str:
        """What its own port speaks."""
        return "http" if self.tls_certificate_file is None else "https"


def load_console_settings(**given: Any) -> ConsoleSettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit, or they let strangers in; names the setting, its
            variable and the fix.
    """
    settings = read_console_settings(**given)
    problems = [
        *_open_problems(settings),
        *_keys_problems(settings),
        *_oidc_problems(settings),
        *_keep_problems(settings),
    ]
    if problems:
        raise ConfigError("settings are wrong: " + "; ".join(problems))
    return settings


def read_console_settings(**given: Any) -> ConsoleSettings:
    """Return the settings, each of them checked, as `load_console_settings`.

    Raises:
        ConfigError: a value does not fit.
    """
    refuse_misspelt(ConsoleSettings)
    try:
        found = ConsoleSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise wrong_settings(error, _PREFIX, "console_") from error
    except SettingsError as error:  # only lists and mappings are parsed before they are checked
        raise ConfigError(
            f"settings are wrong: {error}: give lists as JSON, such as "
            '["console.example.org"], and roles as {"group": "viewer"}'
        ) from error
    if found.pseudonym_keys_file is None and not found.pseudonym_keys.get_secret_value():
        shared = load_settings()
        keys = {name: getattr(shared, name) for name in ("pseudonym_keys_file", "pseudonym_keys")}
        return found.model_copy(update=keys)
    return found


def _named(name: str) -> str:
    return f"console_{name} ({_PREFIX}{name.upper()})"


def _keep_problems(settings: ConsoleSettings) -> Iterator[str]:
    """Yield the kinds that are none, the days that are none, and tiers that end before they begin.

    Each tier begins where the one before ends, so that one has to be named.
    """
    before: dict[str, float] | None = None
    for name, kinds in (
        ("keep_days", tuple(KIND)),
        ("keep_minute_days", tuple(SUMMARIES)),
        ("keep_hour_days", tuple(SUMMARIES)),
    ):
        given = getattr(settings, name)
        for kind, days in given.items():
            if kind not in kinds or not 0 < days < math.inf:
                yield (
                    f"{_named(name)}: {kind!r}: {days}; name a kind ({', '.join(kinds)}) and a "
                    "number of days above 0"
                )
            elif before is not None and not before.get(kind, math.inf) < days:
                yield (
                    f"{_named(name)}: {kind!r}: {days}; it is an age, and must be above that of "
                    "the tier before, which has to be named"
                )
        before = given


def _open_problems(settings: ConsoleSettings) -> Iterator[str]:
    """Yield what would let in whoever reaches the port."""
    is_near = settings.address in LOOPBACK
    if settings.auth == "none":
        if not is_near:
            yield (
                f"{_named('address')}: {settings.address} is not the loopback, and with --auth "
                "none nobody logs in; choose keys or oidc"
            )
        if settings.allowed_hosts:
            yield f"{_named('allowed_hosts')}: needs --auth keys or oidc"
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        yield f"{_named('tls_certificate_file')}: belongs together with TLS_KEY_FILE: set both"
    if "*" in "".join(settings.allowed_hosts):
        yield f"{_named('allowed_hosts')}: name each host; a pattern would let any page ask"
    if settings.auth == "none" or is_near:
        return
    if not settings.is_encrypted:
        yield (
            f"{_named('address')}: {settings.address} is not the loopback, and keys would cross "
            f"the network in the clear: set {_PREFIX}TLS_CERTIFICATE_FILE and {_PREFIX}TLS_KEY_FILE"
            f", or {_PREFIX}BEHIND_TLS_PROXY=true when a proxy before it speaks TLS"
        )
    if not settings.allowed_hosts:
        yield (
            f"{_named('allowed_hosts')}: name the hosts that the console is asked by, such as "
            '["console.example.org"]'
        )


def _keys_problems(settings: ConsoleSettings) -> Iterator[str]:
    if settings.auth == "keys" and settings.keys_file is None:
        yield (
            f"{_named('keys_file')}: missing; set it to the file that `spanloom console-key new "
            "--role ROLE --actor NAME --file FILE` makes"
        )
    if settings.auth != "none" and "://" in settings.archive and settings.access_log_dir is None:
        yield (
            f"{_named('access_log_dir')}: missing: a bucket takes no lines at the end of a file; "
            "name a folder of a disk"
        )


def _oidc_problems(settings: ConsoleSettings) -> Iterator[str]:
    if settings.auth != "oidc":
        return
    for name in ("oidc_issuer", "oidc_client_id", "oidc_client_secret_file", "public_url"):
        if not getattr(settings, name):
            yield f"{_named(name)}: missing; --auth oidc needs it"
    if not settings.oidc_roles:
        yield (
            f"{_named('oidc_roles')}: missing: nobody would have a role; give JSON such as "
            '{"sre": "operator"}'
        )
    for name in ("oidc_issuer", "public_url"):
        url = urlsplit(getattr(settings, name))
        if getattr(settings, name) and (
            url.scheme not in ("http", "https")
            or not url.hostname
            or (url.scheme == "http" and not is_loopback(url.hostname))
        ):
            yield f"{_named(name)}: must be https://HOST, or http on the loopback"
    host = urlsplit(settings.public_url).hostname
    if host and host not in settings.hosts:
        yield f"{_named('allowed_hosts')}: must hold {host}, the host of the public URL"
