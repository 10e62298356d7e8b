"""A real OpenTelemetry Collector for tests, built from its modules by its own builder.

It receives OTLP and writes Kafka, and has nothing else. `SPANLOOM_OTELCOL` names a binary.
"""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.integration import gomod
from tests.integration.notifying import until
from tests.ports import free_port

BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder"
VERSION: Final = "v0.155.0"
STABLE: Final = "v1.61.0"
CONTRIB: Final = "github.com/open-telemetry/opentelemetry-collector-contrib"
MANIFEST: Final = f"""
dist: {{name: otelcol, output_path: ., module: spanloom/otelcol}}
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver {VERSION}
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor {VERSION}
  - gomod: go.opentelemetry.io/collector/processor/memorylimiterprocessor {VERSION}
  - gomod: {CONTRIB}/processor/deltatocumulativeprocessor {VERSION}
exporters:
  - gomod: {CONTRIB}/exporter/kafkaexporter {VERSION}
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider {STABLE}
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider {STABLE}
  - gomod: go.opentelemetry.io/collector/confmap/provider/yamlprovider {STABLE}
"""


def find_binary() -> tuple[Path | None, str]:
    """Return a Collector, or None and why there is none."""
    given = os.environ.get("SPANLOOM_OTELCOL")
    if given:
        return Path(given), ""
    builder, why = gomod.find_binary(BUILDER, VERSION, "SPANLOOM_OTELCOL_BUILDER")
    if builder is None:
        return None, why
    binary = builder.parent / "otelcol"
    if not binary.exists():
        manifest = builder.parent / "builder.yaml"
        manifest.write_text(MANIFEST, "utf-8")
        why = gomod.run([str(builder), "--config", manifest.name], builder.parent)
        if why:
            return None, why
    return binary, ""


class OtelCollector:
    """One Collector process, which listens on free ports of the loopback.

    Args:
        binary: of the Collector.
        config: its configuration.
        log: where its words go.
        environment: what the configuration wants to know.
    """

    def __init__(self, binary: Path, config: Path, log: Path, environment: dict[str, str]) -> None:
        self.port, self.log = free_port(), log
        otlp = "yaml:receivers::otlp::protocols"
        ours = [
            f"{otlp}::http::endpoint: 127.0.0.1:{self.port}",
            f"{otlp}::grpc::endpoint: 127.0.0.1:{free_port()}",
            "yaml:service::telemetry::metrics::level: none",  # it would listen on a fixed port
        ]
        command = [str(binary), "--config", str(config)]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command + [word for one in ours for word in ("--config", one)],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Return its address for OTLP over HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Wait until it listens."""
        until(self._listens, self.said)
        return self

    def __exit__(self, *_: object) -> None:
        """Let it send what it has, and end it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text("utf-8")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.said()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0
