"""`spanloom demo`: the whole engine on a simulated pipeline, with a verdict at the end."""

import json
from pathlib import Path
from typing import Any

import typer

from streams.cli.demo_verdict import print_report
from streams.cli.tables import terminal
from streams.demo.live import LiveView
from streams.demo.page import PORT, Page
from streams.demo.run import run_demo
from streams.errors import ConfigError
from streams.monitoring.logs import configure_logs
from streams.simulate.report import passed


def run(
    seconds: float = typer.Option(60.0, min=10.0, max=3600.0, help="How long the pipeline sends."),
    seed: int = typer.Option(1, min=0, help="Decides records, noise and faults."),
    json_file: Path | None = typer.Option(None, "--json", help="Write the report here."),
    contract: str = typer.Option("seed", help="Path of the contract, or `seed`."),
    plain: bool = typer.Option(False, help="Lines instead of the live view."),
    page_port: int = typer.Option(PORT, min=0, max=65_535, help="Of the page; 0 for no page."),
    stay: bool | None = typer.Option(
        None, help="Keep the page until Ctrl-C; on a terminal unless told otherwise."
    ),
    log_level: str = typer.Option("ERROR", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Simulate a pipeline with faults, join its telemetry, hold the incidents against the truth.

    Needs no Kafka: it brings an embedded broker along; a console shows it all in a browser. Exit
    code 0 when every event is accounted for, every fault was found and nothing else was claimed;
    1 otherwise.

    Example: spanloom demo --seconds 60 --seed 7 --json report.json
    """
    configure_logs(log_level)
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        # Told now, not after a minute, when the report would be lost.
        raise ConfigError(
            f"--json {json_file}: cannot be written; name a file in a folder there is"
        )
    view = LiveView(plain=plain)

    def finish(report: dict[str, Any], page: Page, was_stopped: bool) -> None:
        view.end()
        print_report(report, terminal())
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        is_kept = view.console.is_terminal if stay is None else stay
        if is_kept and not was_stopped and page.words().startswith("http"):
            view.console.print(f"the page stays at {page.words()} until Ctrl-C", highlight=False)
            page.stay()

    with view:
        report = run_demo(seconds, seed, contract, view.show, page_port=page_port, finish=finish)
    if not passed(report):
        raise typer.Exit(1)
