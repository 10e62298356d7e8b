"""Alert rules and dashboards on a real Prometheus that scrapes a real worker and console."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fault.console import ConsoleAt
from tests.fault.harness import REPOSITORY, Deployment, Feeder, wait_for
from tests.integration import debian
from tests.integration.conftest import give_up
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

DEPLOY = REPOSITORY / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
MAY_BE_EMPTY = re.compile(
    "notify|cut_connections|displaced|dropped|unwritten|refused|unreadable|discarded|complaints|"
    "access_events|lost_to_retention|restarts|local_rebuilds|spanloom_console_waits"
)
"""What has no sample while nothing is wrong: its expression must run, and may find nothing."""


@pytest.fixture(scope="module")
def binary() -> Path:
    """Return Prometheus, installed when it may be; without it skip, where CI is set fail."""
    found, why = debian.find_binary("prometheus", ("prometheus",), "SPANLOOM_PROMETHEUS")
    if found is None:
        give_up(f"no real Prometheus: {why} (or set SPANLOOM_PROMETHEUS)")
        raise AssertionError("give_up returns never")
    return found


class Prometheus:
    """One process with the rules of the repository, which looks every few seconds."""

    def __init__(self, binary: Path, folder: Path, targets: dict[str, int]) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        rules = folder / "rules.yaml"
        # As they are, but for how long something must be so: a test has no time.
        rules.write_text(re.sub(r"for: \d+m", "for: 0s", RULES.read_text("utf-8")), "utf-8")
        config = {
            # A scrape that takes longer than its interval counts as failed.
            "global": {
                "scrape_interval": "3s",
                "scrape_timeout": "3s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(binary),
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its interface."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def ask(self, expression: str) -> list[Any]:
        """Return what an expression gives now."""
        found: list[Any] = self.get("query", query=expression)["result"]
        return found

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2_000:]
        try:
            return bool(self.ask("up"))
        except OSError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def scene(
    deployment: Deployment, binary: Path, tmp_path: Path
) -> Iterator[tuple[Prometheus, ConsoleAt, Any]]:
    """Yield Prometheus with a worker and a console that work, and were asked."""
    deployment.contract = "seed"  # it calls fields personal, and there is no key
    deployment.create_topics()
    at, port = ConsoleAt(deployment), free_port()
    worker = deployment.worker("--health-port", port)
    worker.wait_until_restored(1, "join", 120)
    console = at.start()
    at.wait_until_ready(console)
    made = Prometheus(
        binary, tmp_path / "prometheus", {"spanloom-worker": port, "spanloom-console": at.port}
    )
    try:
        with Feeder(deployment.broker) as feeder:
            feeder.send_bytes("telemetry.other.v1", b"k", b"no event", 0)
        for path in ("/api/v1/incidents", "/api/v1/traces?start=yesterday", "/nowhere"):
            at.get(path)
        wait_for(made.is_ready, 60, lambda: made.log.read_text()[-2_000:])
        both = "count(up == 1) == 2"
        wait_for(lambda: bool(made.ask(both)), 60, lambda: str(made.get("targets")), console)
        yield made, at, console
    finally:
        made.end()


def send_no_event(prometheus_of: tuple[Prometheus, ConsoleAt, Any]) -> None:
    """Send one record more."""
    with Feeder(prometheus_of[1].deployment.broker) as feeder:
        feeder.send_bytes("telemetry.other.v1", b"k", b"no event", 0)


def expressions(board: Path) -> list[str]:
    """Return the expressions of a dashboard, its variables set."""
    found = [
        target["expr"]
        for panel in json.loads(board.read_text("utf-8"))["panels"]
        for target in panel["targets"]
    ]
    return [one.replace("$__rate_interval", "30s").replace("$instance", ".+") for one in found]


def test_every_expression_is_executed(scene: tuple[Prometheus, ConsoleAt, Any]) -> None:
    """Rules evaluate without an error; panels find something, but for what tells of trouble.

    A worker without a key for what the contract calls personal is told of. And the rule that
    somebody should be woken for wakes: a console that was killed is away.
    """
    prometheus, _, console = scene

    def groups() -> Any:
        return prometheus.get("rules")["groups"]

    def are_evaluated() -> bool:
        return all(rule["lastEvaluation"][:4] > "2000" for g in groups() for rule in g["rules"])

    wait_for(are_evaluated, 30, lambda: str(groups()))
    rules = [rule for group in groups() for rule in group["rules"]]
    assert len(rules) == RULES.read_text("utf-8").count("- alert:")
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert len(BOARDS) == 2
    for board in BOARDS:
        for expression in expressions(board):
            if MAY_BE_EMPTY.search(expression):
                prometheus.ask(expression)
                continue
            some = lambda asked=expression: bool(prometheus.ask(asked))  # noqa: E731
            wait_for(some, 30, lambda asked=expression: asked)  # a rate wants two samples

    def firing() -> set[str]:
        alerts = prometheus.get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    send_no_event(scene)
    untreated = "SpanloomPersonalFieldsUntreated"
    wait_for(lambda: untreated in firing(), 60, lambda: str(firing()))
    # Without the minutes that they are given, one scrape that failed makes them fire, for a look.
    wrong = {"SpanloomConsoleAway", "SpanloomUnhealthy", "SpanloomConsoleErrors"}
    wait_for(lambda: not firing() & wrong, 60, lambda: str(firing()))
    console.kill()
    wait_for(lambda: "SpanloomConsoleAway" in firing(), 30, lambda: str(firing()))
