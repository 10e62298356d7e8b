"""Settings of the process that hands incidents on, besides those of every command.

Whom it tells is in a file, or in the contract; see `streams/contract/notify.py`.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from streams.contract.loader import load_notify
from streams.contract.notify import Notify
from streams.errors import ConfigError
from streams.setting_checks import SaneSettings
from streams.settings import WorkerSettings, refuse_misspelt, wrong_settings

_PREFIX = "SPANLOOM_NOTIFY_"


class NotifySettings(SaneSettings):
    """What the process can be told.

    Attributes:
        config: file of targets; without it the contract's `notify:` part.
        group: begins the names of the consumer groups, `<group>.<target>`.
        hosts: the only hosts that may be called, whatever the file says; empty for any.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    config: Path | None = None
    group: str = Field(default="spanloom-notify", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    hosts: tuple[str, ...] = ()

    def group_of(self, target_id: str) -> str:
        """Return the consumer group of a target."""
        return f"{self.group}.{target_id}"


def load_notify_settings(**given: Any) -> NotifySettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit; names the setting, its variable and the fix.
    """
    refuse_misspelt(NotifySettings)
    try:
        return NotifySettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise wrong_settings(error, _PREFIX, "notify_") from error
    except SettingsError as error:  # only a list is parsed before it is checked: there is one
        raise ConfigError(
            f"settings are wrong: notify_hosts ({_PREFIX}HOSTS): give a JSON list, such as "
            '["hooks.example.org", "*.example.net"]'
        ) from error


def load_targets(settings: NotifySettings, common: WorkerSettings) -> Notify:
    """Return whom to tell: the file's targets, else the contract's.

    Raises:
        ConfigError: neither is named, or what is named is wrong.
    """
    path = settings.config or common.contract
    if not path:
        raise ConfigError(
            f"notify_config ({_PREFIX}CONFIG): missing: nobody to tell; give a file with --config, "
            "or a contract that has a `notify:` part with --contract (SPANLOOM_CONTRACT); "
            "docs/notify.md shows both"
        )
    return load_notify(path)
