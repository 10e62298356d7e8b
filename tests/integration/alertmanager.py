"""A real Alertmanager for tests: the one on the path, or Debian's package.

`SPANLOOM_ALERTMANAGER` names a binary. Without one root installs the package with apt-get: it looks
for its templates where the package puts them, so to unpack it is not enough.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Final

import yaml

from tests.integration.notifying import free_port, until

PACKAGE: Final = "prometheus-alertmanager"


def find_binary() -> tuple[Path | None, str]:
    """Return a binary, or None and why there is none."""
    given = os.environ.get("SPANLOOM_ALERTMANAGER")
    if given:
        return Path(given), ""
    found = _on_path()
    if found is not None:
        return found, ""
    if shutil.which("apt-get") is None:
        return None, f"no {PACKAGE} on the path, and no apt-get to install it with"
    if os.geteuid() != 0:
        return None, f"no {PACKAGE} on the path, and only root may install it"
    run = _install()
    if run.returncode != 0:
        _apt("update", "-qq")  # a fresh image has no package lists
        run = _install()
    found = _on_path()
    if found is None:
        return None, f"apt-get cannot install {PACKAGE}: {run.stderr.strip()[-200:]}"
    return found, ""


def _on_path() -> Path | None:
    for name in (PACKAGE, "alertmanager"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    return None


def _install() -> subprocess.CompletedProcess[str]:
    return _apt("install", "-y", "-qq", "--no-install-recommends", PACKAGE)


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


class Alertmanager:
    """One process, which tells a webhook what it would tell people.

    Args:
        binary: of Alertmanager.
        folder: for its files.
        hook_url: where its notifications go.
    """

    def __init__(self, binary: Path, folder: Path, hook_url: str) -> None:
        folder.mkdir(parents=True)
        self._binary, self._folder = binary, folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "route": {
                "receiver": "hook",
                "group_by": ["incident_id"],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [
                {"name": "hook", "webhook_configs": [{"url": hook_url, "send_resolved": True}]}
            ],
        }
        (folder / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it without any memory, and wait until it answers."""
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binary),
                    f"--config.file={self._folder / 'config.yml'}",
                    f"--storage.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--cluster.listen-address=",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._is_ready, lambda: (self._folder / "log").read_text()[-1000:])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it holds as active."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found

    def active(self) -> dict[str, list[str]]:
        """Return the severities of the active alerts of each incident."""
        found: dict[str, list[str]] = {}
        for alert in self.alerts():
            labels = alert["labels"]
            found.setdefault(labels["incident_id"], []).append(labels["severity"])
        return found
