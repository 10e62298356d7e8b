"""Real servers for tests that are Go modules: built once, and kept where the broker's jars are.

A module's version is in the name of its folder, so that another version is built beside it.
"""

import os
import shutil
import subprocess
from pathlib import Path

BUILD_SECONDS_MAX = 1_500
"""A first build downloads and compiles everything: minutes on two cores."""


def _home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SPANLOOM_GO_HOME") or Path(cache) / "spanloom-go")


def find_binary(module: str, version: str, variable: str) -> tuple[Path | None, str]:
    """Return the binary of a module's command, or None and why there is none.

    Args:
        module: path of the command, such as example.org/server/cmd/server.
        version: of its module, such as v1.2.3.
        variable: of the environment, names a binary.
    """
    given = os.environ.get(variable)
    if given:
        return Path(given), ""
    folder = _home() / f"{module.rsplit('/', 1)[1]}-{version}"
    binary = folder / module.rsplit("/", 1)[1]
    if not binary.exists():
        why = run_go(folder, "install", f"{module}@{version}", GOBIN=str(folder))
        if why:
            return None, why
    return binary, ""


def run_go(folder: Path, *words: str, **environment: str) -> str:
    """Run Go in a folder; return why it did not work, "" when it did."""
    go = shutil.which("go")
    if go is None:
        return "no go on the path"
    folder.mkdir(parents=True, exist_ok=True)
    return run([go, *words], folder, **environment)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command of a build in a folder; return why it did not work, "" when it did."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "GOFLAGS": "-buildvcs=false", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    if done.returncode == 0:
        return ""
    return f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
