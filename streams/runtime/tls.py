"""Which certificates are trusted, as Python's clients want it."""

import ssl
from pathlib import Path

from streams.errors import ConfigError


def trust(ca_file: Path | None, variable: str = "SPANLOOM_KAFKA_CA_FILE") -> ssl.SSLContext:
    """Return a context that checks whom it talks to: against a file, or the system's authorities.

    Raises:
        ConfigError: the file holds no certificates that can be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{variable}={ca_file} holds no certificates that can be read: "
            f"{error.strerror or error}"
        ) from error
