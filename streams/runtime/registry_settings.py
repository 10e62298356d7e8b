"""How to reach a schema registry, if there is one.

Owns what may be combined: what would send a secret in the clear is refused at the start.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from streams.errors import ConfigError
from streams.setting_checks import SaneSettings
from streams.settings import is_loopback, secret_text, wrong_settings

PREFIX: Final = "SPANLOOM_REGISTRY_"


class RegistryLink(SaneSettings):
    """A registry that speaks Confluent's interface; set by environment and files only.

    Attributes:
        url: its address, https, or http on the loopback; several by commas; empty for none.
        username, password, password_file: basic authentication.
        token_file: bearer token in place of those.
        ca_file: certificates that the registry's is checked against; empty for the usual ones.
        certificate_file, key_file, key_password_file: our own certificate (mTLS).
        timeout_seconds: how long an answer may take.
        unknown_seconds: so long an id that the registry does not know is not asked for again.
        lookups_per_second: ids that are asked for, at most; others count as unknown meanwhile.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password_file: Path | None = None
    # The loop of the worker waits for the answer: well below the session's timeout.
    timeout_seconds: float = Field(default=2, gt=0, le=5)
    unknown_seconds: float = Field(default=60, ge=1)
    lookups_per_second: int = Field(default=20, ge=1, le=1_000)

    def secret(self, name: str) -> str:
        """Return the password or the token, from its variable or its file, "" for none.

        Raises:
            ConfigError: the file cannot be read, is empty or far too large.
        """
        path: Path | None = getattr(self, f"{name}_file")
        if path is not None:
            return secret_text(path, f"{PREFIX}{name.upper()}_FILE={path}")
        given: SecretStr | None = getattr(self, name, None)
        return given.get_secret_value() if given is not None else ""


def load_registry() -> RegistryLink:
    """Return the settings of the registry, checked as far as it can be without it.

    Raises:
        ConfigError: they contradict each other, or would send a secret in the clear; names the
            variable and the fix.
    """
    known = {f"{PREFIX}{name.upper()}" for name in RegistryLink.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigError(f"no such setting: {', '.join(unknown)}; docs/schemas.md lists them")
    try:
        link = RegistryLink()
    except ValidationError as error:
        raise wrong_settings(error, PREFIX) from None
    problems = list(_problems(link))
    if problems:
        raise ConfigError("the registry's settings are wrong: " + "; ".join(problems))
    return link


def _problems(link: RegistryLink) -> Iterator[str]:
    has_password = bool(link.password.get_secret_value()) or link.password_file is not None
    has_proof = has_password or link.token_file is not None
    if not link.url:
        if has_proof or link.username:
            yield f"a user or token is set, and {PREFIX}URL is not"
        return
    for address in link.url.split(","):
        url = urlsplit(address.strip())
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query:
            yield f"{PREFIX}URL must be https://HOST/PATH, without a user or a query in it"
        elif url.scheme == "http" and not is_loopback(url.hostname):
            yield f"{PREFIX}URL: schemas decide how bytes are read; use https beyond this machine"
    if bool(link.username) != has_password:
        yield f"{PREFIX}USERNAME belongs to one of {PREFIX}PASSWORD and {PREFIX}PASSWORD_FILE"
    if link.password.get_secret_value() and link.password_file is not None:
        yield f"set {PREFIX}PASSWORD or {PREFIX}PASSWORD_FILE, not both"
    if link.token_file is not None and link.username:
        yield f"set {PREFIX}TOKEN_FILE or {PREFIX}USERNAME, not both"
    if (link.certificate_file is None) != (link.key_file is None):
        yield f"{PREFIX}CERTIFICATE_FILE and {PREFIX}KEY_FILE belong together: set both"
    if link.key_password_file is not None and link.key_file is None:
        yield f"{PREFIX}KEY_PASSWORD_FILE needs {PREFIX}KEY_FILE"
