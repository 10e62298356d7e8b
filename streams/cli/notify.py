"""`spanloom notify`: tell receivers of incidents, try a receiver, check the file of targets."""

import asyncio
import json
from pathlib import Path

import typer

from streams.cli.connection import connect
from streams.contract.loader import ContractError, load_notify
from streams.contract.notify import Notify
from streams.errors import ConfigError
from streams.monitoring.logs import configure_logs
from streams.runtime.link import Link
from streams.settings import WorkerSettings, load_settings
from streams.units import counted

app = typer.Typer(no_args_is_help=True)

_CONFIG = typer.Option(None, help="File of targets; else the contract's `notify:` part.")
_CONTRACT = typer.Option(None, help="Path of a contract with a `notify:` part.")
_BROKER = typer.Option(None, help="Bootstrap address, HOST:PORT.")
_JSON = typer.Option(False, "--json", help="Write one JSON object instead of text.")


@app.callback()
def root() -> None:
    """Tell Alertmanager, webhooks and others of incidents."""


@app.command()
def run(
    config: Path | None = _CONFIG,
    contract: str | None = _CONTRACT,
    broker: str | None = _BROKER,
    group: str | None = typer.Option(None, help="Begins the names of the consumer groups."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    health_port: int | None = typer.Option(
        None, help="Serve /health, /ready and /metrics on this port of the loopback."
    ),
    log_level: str | None = typer.Option(None, help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Tell every target of the incidents that pass its filters, until stopped.

    Ends with 0 after SIGTERM or Ctrl-C, with 2 for a wrong file or setting, with 3 when the broker
    refuses. A receiver that is away ends nothing: it is told when it is back.

    Example: spanloom notify run --config notify.yaml --broker 127.0.0.1:9092 --health-port 8081
    """
    from streams.notify.process import Notifier
    from streams.notify.settings import load_notify_settings, load_targets

    common = load_settings(
        broker=broker,
        contract=contract,
        derived_prefix=derived_prefix,
        health_port=health_port,
        log_level=log_level,
    )
    configure_logs(common.log_level)
    settings = load_notify_settings(config=config, group=group)
    notify = load_targets(settings, common)
    link = connect(common)

    async def tell() -> None:
        line = _ready_line(notify, common)
        notifier = Notifier(notify, settings, common, link, lambda: typer.echo(line))
        notifier.prepare()
        await notifier.run()

    asyncio.run(tell())


def _ready_line(notify: Notify, common: WorkerSettings) -> str:
    line = f"ready targets={','.join(target.id for target in notify.targets)}"
    if common.health_port:
        line += f" health=http://{common.health_address}:{common.health_port}"
    return line


@app.command()
def check(
    file: str = typer.Argument(metavar="FILE", help="A file of targets, or a contract."),
    as_json: bool = _JSON,
) -> None:
    """Say whether a file of targets is valid; list every problem with its line and fix.

    Nothing is called, and secrets are not read. Ends with 0 when it is valid, with 2 when not.

    Example: spanloom notify check notify.yaml
    """
    try:
        notify = load_notify(file)
    except ContractError as error:
        if as_json:
            problems = [{"line": p.line, "path": p.path, "text": p.text} for p in error.problems]
            typer.echo(json.dumps({"file": file, "ok": False, "problems": problems}))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    names = [f"{target.id} ({target.kind})" for target in notify.targets]
    if as_json:
        targets = [{"id": t.id, "kind": t.kind} for t in notify.targets]
        typer.echo(json.dumps({"file": file, "ok": True, "targets": targets, "problems": []}))
    else:
        typer.echo(f"{file} is valid: {counted(len(names), 'target')}: {', '.join(names)}")


@app.command("test")
def try_out(
    config: Path | None = _CONFIG,
    contract: str | None = _CONTRACT,
    broker: str | None = _BROKER,
    target: list[str] | None = typer.Option(None, help="Only this target; may be repeated."),
    as_json: bool = _JSON,
) -> None:
    """Send a test incident to each target and say exactly what happened to it.

    It is marked as a test, has severity INFO and goes past the filters. Ends with 0 when every
    target took it, with 1 when one did not, with 2 for a wrong file or an unknown target.

    Example: spanloom notify test --config notify.yaml --target pager
    """
    from streams.notify.settings import load_notify_settings, load_targets

    common = load_settings(broker=broker, contract=contract)
    settings = load_notify_settings(config=config)
    notify = load_targets(settings, common)
    known = [one.id for one in notify.targets]
    unknown = [name for name in target or () if name not in known]
    if unknown:
        raise ConfigError(f"no target {', '.join(unknown)}; known: {', '.join(known)}")
    from streams.notify.probe import Report, probe
    from streams.notify.process import credentials_of

    credentials = credentials_of(notify, settings)
    chosen = [one for one in notify.targets if not target or one.id in target]
    is_link_needed = any(one.topic is not None for one in chosen)
    link = connect(common) if is_link_needed else Link.plain(common.broker)

    async def try_all() -> list[Report]:
        return [await probe(notify, one, credentials[one.id], link) for one in chosen]

    reports = asyncio.run(try_all())
    is_ok = all(report.ok for report in reports)
    if as_json:
        typer.echo(json.dumps({"ok": is_ok, "targets": [report.plain() for report in reports]}))
    else:
        for report in reports:
            typer.echo(f"{report.target} ({report.kind}): {'took it' if report.ok else 'FAILED'}")
            for step in report.steps:
                mark = "ok  " if step.ok else "FAIL"
                typer.echo(f"  {mark} {step.step:<8} {step.seconds * 1000:7.1f} ms  {step.text}")
    if not is_ok:
        raise typer.Exit(1)
