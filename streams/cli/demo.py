"""`spanloom demo`: the whole engine on a simulated pipeline, with a verdict at the end."""

import json
from pathlib import Path

import typer

from streams.demo.live import LiveView
from streams.demo.run import run_demo
from streams.demo.verdict import print_report
from streams.errors import ConfigError
from streams.monitoring.logs import configure_logs
from streams.simulate.report import passed


def run(
    seconds: float = typer.Option(60.0, min=10.0, max=3600.0, help="How long the pipeline sends."),
    seed: int = typer.Option(1, min=0, help="Decides records, noise and faults."),
    json_file: Path | None = typer.Option(None, "--json", help="Write the report here."),
    contract: str = typer.Option("seed", help="Path of the contract, or `seed`."),
    plain: bool = typer.Option(False, help="Lines instead of the live view."),
    log_level: str = typer.Option("ERROR", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Simulate a pipeline with faults, join its telemetry, hold the incidents against the truth.

    Needs no Kafka: it brings an embedded broker along. Exit code 0 when every event is accounted
    for, every fault was found and nothing else was claimed; 1 otherwise.

    Example: spanloom demo --seconds 60 --seed 7 --json report.json
    """
    configure_logs(log_level)
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        # Told now, not after a minute, when the report would be lost.
        raise ConfigError(
            f"--json {json_file}: cannot be written; name a file in a folder there is"
        )
    with LiveView(plain=plain) as view:
        report = run_demo(seconds, seed, contract, view.show)
    print_report(report, view.console)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    if not passed(report):
        raise typer.Exit(1)
