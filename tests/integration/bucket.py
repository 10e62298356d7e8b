"""A real server that speaks S3, for tests: the Versity gateway over a folder.

It is a Go module, Apache-2.0. `SPANLOOM_VERSITYGW` names a binary.
"""

import os
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.integration import gomod
from tests.integration.notifying import until
from tests.ports import free_port

MODULE: Final = "github.com/versity/versitygw/cmd/versitygw"
VERSION: Final = "v1.8.0"
BUCKET: Final = "archive"


def find_binary() -> tuple[Path | None, str]:
    """Return a binary, or None and why there is none."""
    return gomod.find_binary(MODULE, VERSION, "SPANLOOM_VERSITYGW")


class S3Server:
    """One process with one bucket, for who knows its keys.

    Args:
        binary: of the gateway.
        folder: for its files; objects lie in it as files.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self.port = free_port()
        (folder / "objects" / BUCKET).mkdir(parents=True)
        self.environment = {
            "AWS_ACCESS_KEY_ID": "spanloom",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        keys = {
            "ROOT_ACCESS_KEY": self.environment["AWS_ACCESS_KEY_ID"],
            "ROOT_SECRET_KEY": self.environment["AWS_SECRET_ACCESS_KEY"],
        }
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [binary, "--port", f"127.0.0.1:{self.port}", "posix", folder / "objects"],
            env=os.environ | keys,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def url(self) -> str:
        """Return the URL of a folder in its bucket, as `--archive` takes it."""
        return f"s3://{BUCKET}/kept?scheme=http&endpoint_override=127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Wait until it listens."""
        until(self._listens, self._said)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(30)
        self._log.close()

    def _said(self) -> str:
        return Path(self._log.name).read_text("utf-8")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._said()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0
