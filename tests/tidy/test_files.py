"""The files around the code: portable, locked, and readable by the tools that they are for."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from streams.contract.loader import load_notify
from streams.monitoring.liveness import Limits
from streams.monitoring.notify_metrics import NotifyView
from streams.monitoring.view import View
from streams.notify.process import pages as notify_pages
from streams.notify.settings import NotifySettings
from streams.runtime.reporting import pages
from streams.settings import WorkerSettings
from tests.tidy.repository import ROOT, name_of, tracked_files

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def canonical(name: str) -> str:
    """Return a distribution's name in the spelling that makes equal names equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Return distribution -> version of the exact pins in a lock."""
    return {canonical(name): version for name, version in PIN.findall(text)}


def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(path: Path) -> str:
    """Return a file's text; bytes that are no UTF-8 become question marks."""
    return path.read_text(encoding="utf-8", errors="replace")


def test_nothing_else_lies_at_the_top() -> None:
    """A command tried in a checkout leaves folders behind; none of them becomes a part of it."""
    folders = {"benchmarks", "deploy", "docs", "schemas", "streams", "tests"}
    papers = {"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"}
    files = {"Makefile", "docker-compose.yml", "pyproject.toml", *LOCKS} | papers
    found = {name_of(path).partition("/")[0] for path in tracked_files()}
    assert {name for name in found if not name.startswith(".")} == folders | files


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No file names somebody's home or working folder."""
    # Written in pieces, or this file would be the first to be found.
    machine = re.compile("(?<![A-Za-z0-9_.])/(?:" + "work/|" + "root/|" + r"home/\w+/|" + "Users/)")
    found = [name_of(path) for path in tracked_files() if machine.search(text_of(path))]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_versions_and_hashes_only(name: str) -> None:
    """A lock pins every distribution exactly, by hash, and names no index."""
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert entries
    assert [line for line in entries if not PIN.match(line)] == []
    assert len(entries) == len(re.findall(r"==\S+.*\\\n    --hash=sha256:", text))
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_locks_agree_with_the_project() -> None:
    """Every dependency is pinned in pyproject.toml, and the locks pin the same versions."""
    declared = project()["project"]
    groups = project()["dependency-groups"]
    run = pins("\n".join(declared["dependencies"]))
    dev = pins("\n".join(declared["optional-dependencies"]["dev"]))
    build = pins("\n".join(groups["build"]))
    assert len(run) == len(declared["dependencies"])
    assert len(dev) == len(declared["optional-dependencies"]["dev"])
    run_lock, dev_lock, build_lock = (pins(text_of(ROOT / name)) for name in LOCKS)
    assert run.items() <= run_lock.items()
    assert run_lock.items() <= dev_lock.items(), "tests must run on what is shipped"
    assert dev.items() <= dev_lock.items()
    assert build.items() <= build_lock.items()
    assert set(project()["build-system"]["requires"]) <= set(groups["build"])


def test_compose_file_is_whole() -> None:
    """docker-compose.yml parses; each service has an image or a build and knows whom it awaits."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    services = compose["services"]
    watching = {"prometheus", "alertmanager", "grafana"}
    ours = {"broker", "topics", "worker", "worker-2", "collector", "console"}
    assert ours | watching == set(services)
    for name, service in services.items():
        assert "image" in service or "build" in service, name
        assert set(service.get("depends_on", {})) <= set(services), name
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file(), name
        for volume in service.get("volumes", ()):
            source, _, _ = volume.partition(":")
            assert source in compose["volumes"] or (ROOT / source).exists(), volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_what_the_compose_file_watches_is_there() -> None:
    """Prometheus asks the ports that are published, and alerts the Alertmanager that runs."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    folder = ROOT / "deploy" / "compose"
    config = yaml.safe_load((folder / "prometheus.yaml").read_text("utf-8"))
    targets = {
        target
        for job in config["scrape_configs"]
        for one in job["static_configs"]
        for target in one["targets"]
    }
    workers = {
        port.rpartition(":")[0]
        for name in ("worker", "worker-2")
        for port in services[name]["ports"]
    }
    console = f"127.0.0.1:{services['console']['environment']['SPANLOOM_CONSOLE_PORT']}"
    own = services["collector"]["environment"]["SPANLOOM_COLLECTOR_HTTP_PORT"]
    assert targets == workers | {console, f"127.0.0.1:{own}"}
    (alerting,) = config["alerting"]["alertmanagers"]
    (address,) = alerting["static_configs"][0]["targets"]
    assert f"--web.listen-address={address}" in services["alertmanager"]["command"]
    source = yaml.safe_load((folder / "grafana-datasource.yaml").read_text("utf-8"))
    address = source["datasources"][0]["url"].removeprefix("http://")
    assert f"--web.listen-address={address}" in services["prometheus"]["command"]


def test_kubernetes_manifest_fits_the_worker() -> None:
    """Probes ask pages that there are, variables are settings, and the pod outlives a stop."""
    path = ROOT / "deploy" / "kubernetes" / "worker.yaml"
    service, workers = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    pod = workers["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert service["metadata"]["name"] == workers["spec"]["serviceName"]
    assert service["spec"]["selector"] == workers["spec"]["selector"]["matchLabels"]
    assert service["spec"]["clusterIP"] == "None", "each pod has a name of its own"
    (port,) = service["spec"]["ports"]
    assert port["port"] == container["ports"][0]["containerPort"]
    fields = WorkerSettings.model_fields
    variables = {one["name"] for one in container["env"]}
    assert variables <= {f"SPANLOOM_{name.upper()}" for name in fields}
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    there = pages(lambda: View(Limits(1, 1)), lambda: 0.0)
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/health", "readiness": "/ready", "liveness": "/health",
    }  # fmt: skip
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= set(there)
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {
        port["name"] for port in container["ports"]
    }
    assert pod["terminationGracePeriodSeconds"] > fields["stop_seconds_max"].default
    liveness = probes["liveness"]
    limit_seconds = fields["stalled_timeout_seconds"].default
    rest_seconds = limit_seconds * (1 - fields["unhealthy_ratio"].default)
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > rest_seconds


def test_kubernetes_manifest_tells_incidents(tmp_path: Path) -> None:
    """Its targets are valid, its hosts theirs, its variables settings, its probe a page."""
    path = ROOT / "deploy" / "kubernetes" / "notify.yaml"
    config, deployment = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    file = tmp_path / "notify.yaml"
    file.write_text(config["data"]["notify.yaml"], encoding="utf-8")
    notify = load_notify(file)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    known = {f"SPANLOOM_{name.upper()}" for name in WorkerSettings.model_fields}
    known |= {f"SPANLOOM_NOTIFY_{name.upper()}" for name in NotifySettings.model_fields}
    assert set(given) <= known
    urls = [url.text for target in notify.targets for url in (target.url, *target.urls) if url]
    hosts = json.loads(given["SPANLOOM_NOTIFY_HOSTS"])
    assert sorted(urlsplit(url).hostname or "" for url in urls if url) == sorted(hosts)
    there = notify_pages(NotifyView)
    assert container["livenessProbe"]["httpGet"]["path"] in there


def dockerfile_instructions() -> list[tuple[str, str]]:
    """Return (instruction, arguments) of deploy/Dockerfile, continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_dockerfile_is_whole() -> None:
    """The image starts from a base, copies only what exists, and runs as a user without rights."""
    known = {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "HEALTHCHECK", "ENTRYPOINT"}
    instructions = dockerfile_instructions()
    assert instructions[0][0] in ("ARG", "FROM")
    assert {word for word, _ in instructions} <= known | {"CMD", "LABEL"}
    for word, arguments in instructions:
        sources = [part for part in arguments.split()[:-1] if not part.startswith("--")]
        if word == "COPY" and "--from=" not in arguments:
            assert [source for source in sources if not (ROOT / source).exists()] == []
    users = [arguments for word, arguments in instructions if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert any(word == "RUN" and "--require-hashes" in rest for word, rest in instructions)


@pytest.mark.parametrize("name", ["worker", "notify"])
def test_a_pod_runs_as_the_user_of_the_image(name: str) -> None:
    """By number: a kubelet that must not run root does not know what a name stands for."""
    (user,) = [arguments for word, arguments in dockerfile_instructions() if word == "USER"]
    assert user.isdecimal(), "runAsNonRoot cannot be verified by a name: the pod would not start"
    path = ROOT / "deploy" / "kubernetes" / f"{name}.yaml"
    pod = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))[-1]["spec"]["template"]["spec"]
    expected = {"runAsNonRoot": True, "runAsUser": int(user), "fsGroup": int(user)}
    assert pod["securityContext"] == expected


def test_the_wheel_carries_what_the_code_reads() -> None:
    """The folder of schemas goes into the wheel under the name by which the code looks for it."""
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["streams"]
    assert wheel["force-include"] == {"schemas": "streams/_schemas"}
    assert list((ROOT / "schemas").glob("*.avsc"))


def test_scripts_can_be_run() -> None:
    """Every file that opens with #! is executable."""
    scripts = [path for path in tracked_files() if path.read_bytes()[:2] == b"#!"]
    assert {name_of(path) for path in scripts} >= {".ci/run", "deploy/kafka/broker.sh"}
    assert [name_of(path) for path in scripts if not path.stat().st_mode & 0o111] == []
