"""Files that commands write where `--out` says: what is there is replaced only when told to."""

from pathlib import Path
from typing import Final

from streams.errors import ConfigError

FORCE_HELP: Final = "Replace a file that is there."


def refuse_there(out: Path, *, force: bool) -> None:
    """Pass when a file may be put there: a device or a folder would be replaced by it.

    Raises:
        ConfigError: it may not.
    """
    if not out.exists():
        return
    if not out.is_file():
        raise ConfigError(f"{out}: is no file; choose another --out")
    if not force:
        raise ConfigError(f"{out}: is there already; choose another --out, or say --force")
