"""Real servers for tests: the one on the path, or Debian's package, which root installs.

It is installed and not only unpacked: a package looks for its files where it puts them.
"""

import os
import shutil
import subprocess
from pathlib import Path


def find_binary(package: str, names: tuple[str, ...], variable: str) -> tuple[Path | None, str]:
    """Return a binary, or None and why there is none.

    Args:
        package: of Debian.
        names: of the binary, the first that is there counts.
        variable: of the environment, names a binary.
    """
    given = os.environ.get(variable)
    if given:
        return Path(given), ""
    found = _on_path(names)
    if found is not None:
        return found, ""
    if shutil.which("apt-get") is None:
        return None, f"no {package} on the path, and no apt-get to install it with"
    if os.geteuid() != 0:
        return None, f"no {package} on the path, and only root may install it"
    run = _install(package)
    if run.returncode != 0:
        _apt("update", "-qq")  # a fresh image has no package lists
        run = _install(package)
    found = _on_path(names)
    if found is None:
        return None, f"apt-get cannot install {package}: {run.stderr.strip()[-200:]}"
    return found, ""


def _on_path(names: tuple[str, ...]) -> Path | None:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    return None


def _install(package: str) -> subprocess.CompletedProcess[str]:
    return _apt("install", "-y", "-qq", "--no-install-recommends", package)


def _apt(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
