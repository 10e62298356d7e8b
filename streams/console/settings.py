"""Settings of the console, besides those of every command."""

import math
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.console.kinds import KIND
from streams.errors import ConfigError
from streams.settings import wrong_settings

_PREFIX: Final = "SPANLOOM_CONSOLE_"
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""What may be listened on, and the only names that are answered, while nobody logs in."""


class ConsoleSettings(BaseSettings):
    """What the console can be told.

    Attributes:
        archive: a folder, or a URL such as s3://bucket/folder.
        port: where it serves.
        address: on which it listens; the loopback alone while nobody logs in.
        auth: who may ask.
        file_rows: a file is written at so many records of a partition, ...
        file_bytes: ... or so many bytes of them, ...
        file_seconds: ... or so long after the first of them.
        merge_files: so many files of about one size become one while their hour goes on.
        merge_seconds: so often it is looked for files that should become one, or are too old.
        keep_days: by kind, how long it is kept; a kind that is not named is kept for ever.
        holds: a YAML list of what is kept whatever its age.
        query_memory_bytes: DuckDB takes no more; a question that needs more fails.
        query_threads: questions that are answered at once, and threads of each.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    archive: str = Field(default="spanloom-archive", min_length=1)
    port: int = Field(default=8090, ge=1, le=65_535)
    address: str = "127.0.0.1"
    auth: Literal["none"] = "none"
    file_rows: int = Field(default=20_000, ge=1)
    file_bytes: int = Field(default=64 << 20, ge=1 << 16)
    file_seconds: float = Field(default=60, gt=0)
    merge_files: int = Field(default=12, ge=2, le=100)
    merge_seconds: float = Field(default=10, gt=0)
    keep_days: dict[str, float] = {}
    holds: Path | None = None
    query_memory_bytes: int = Field(default=1 << 30, ge=64 << 20)
    query_threads: int = Field(default=2, ge=1)


def load_console_settings(**given: Any) -> ConsoleSettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit; names the setting, its variable and the fix.
    """
    try:
        settings = ConsoleSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise wrong_settings(error, _PREFIX, "console_") from error
    for kind, days in settings.keep_days.items():
        if kind not in KIND or not 0 < days < math.inf:
            raise ConfigError(
                f"console_keep_days ({_PREFIX}KEEP_DAYS): {kind!r}: {days}; name a kind "
                f"({', '.join(KIND)}) and a number of days above 0"
            )
    if settings.address not in LOOPBACK:
        raise ConfigError(
            f"console_address ({_PREFIX}ADDRESS): {settings.address} is not the loopback, and "
            "nobody logs in yet; leave it at 127.0.0.1 and put a proxy that does before it"
        )
    return settings
