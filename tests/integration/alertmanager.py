"""A real Alertmanager for tests: the one on the path, or Debian's package.

`SPANLOOM_ALERTMANAGER` names a binary.
"""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Final

import yaml

from tests.integration import debian
from tests.integration.notifying import until
from tests.ports import free_port

PACKAGE: Final = "prometheus-alertmanager"


def find_binary() -> tuple[Path | None, str]:
    """Return a binary, or None and why there is none."""
    return debian.find_binary(PACKAGE, (PACKAGE, "alertmanager"), "SPANLOOM_ALERTMANAGER")


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
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=20):
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
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=60) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found

    def active(self) -> dict[str, list[str]]:
        """Return the severities of the active alerts of each incident."""
        found: dict[str, list[str]] = {}
        for alert in self.alerts():
            labels = alert["labels"]
            found.setdefault(labels["incident_id"], []).append(labels["severity"])
        return found
