"""`spanloom coverage`: gaps of a real topic, and templates that are what they promise."""

import ast
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from rich.console import Console

from streams.cli.coverage import _print_findings
from streams.cli.coverage_template import files_for
from streams.codec.records import encode
from streams.contract.coverage import Emitted, Finding
from streams.contract.loader import load_contract, parse_contract
from streams.errors import ConfigError
from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from tests.unit.cli.shell import Shell
from tests.unit.codec.codec_cases import event

CONTRACT = """
version: "1"
name: small
modules: {BETA: {owner: b, topic: telemetry.beta.v1}}
flows:
  f: {entry: enrich, stages: [{id: enrich, module: BETA, component: enrichment, name: enrich}]}
"""
REPOSITORY = Path(__file__).resolve().parents[3]


def test_gaps_of_a_topic(shell: Shell, tmp_path: Path) -> None:
    """What is told alone and in a batch counts; a stage that is seen and a log line that is not."""
    path = tmp_path / "c.yaml"
    path.write_text(CONTRACT)
    log = event(event_type="LOG", name="slow", trace_id="", span_id="")
    with EmbeddedBroker() as broker:
        where = ("--broker", broker.address, "--contract", path)
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.beta.v1", topics.OTHER])
        producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
        for value in (
            encode("telemetry_event", event()),
            encode("telemetry_batch", {"events": [event(), log]}),
            b"{garbage}",
        ):
            producer.produce("telemetry.beta.v1", value)
        producer.flush(60)
        told = shell("coverage", *where, "--json")
        people = shell("coverage", *where)
    assert told.code == people.code == 1, told.err
    answer = json.loads(told.out)
    assert (answer["records"], answer["unreadable"]) == (3, {"bad_magic": 1})
    assert answer["shares"] == {"stages": {"seen": 1, "expected": 1}}
    assert [(f["kind"], f["what"]["name"], f["events"]) for f in answer["findings"]] == [
        ("without_trace", "slow", 1),
    ]
    assert "told: 1 of 1 stages" in people.out
    assert "seen without a trace: 1" in people.out


def test_names_are_told_whole(shell: Shell, tmp_path: Path) -> None:
    """In a pipe and in a narrow terminal: a name that is cut cannot be looked for."""
    path, name = tmp_path / "c.yaml", "enrich.from.the.registry.of.all.customers.of.the.last.year"
    path.write_text(CONTRACT.replace("name: enrich}", f"name: {name}}}"))
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.beta.v1", topics.OTHER])
        people = shell("coverage", "--broker", broker.address, "--contract", path)
    assert name in people.out
    what = Emitted("TRACE", "BETA", "enrichment", name)
    finding = Finding("never_seen", what, "flow f", "b", 0, "")
    told = io.StringIO()
    _print_findings(Console(file=told, width=80), "never seen", [finding])
    assert name in told.getvalue()


def test_it_needs_a_contract(shell: Shell) -> None:
    """And says how to give one."""
    answer = shell("coverage")
    assert (answer.code, "--contract seed" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("module", "component"), [("ALPHA", "parser"), ("EPSILON", "cache"), ("NEW", "thing")]
)
def test_a_template_is_a_contract_and_code_that_agree(module: str, component: str) -> None:
    """The piece loads, the code parses, and both name the same spans and signals."""
    files = files_for(module, component, load_contract("seed"))
    contract = parse_contract(files["contract.yaml"])
    code = files[f"{component}_telemetry.py"]
    texts = {n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)}
    stages = {s.name for flow in contract.flows.values() for s in flow.stages}
    assert stages <= texts
    assert {signal.name.rpartition(".")[2] for signal in contract.signals} <= texts
    assert {signal.component for signal in contract.signals} == {component}
    ast.parse(files[f"test_{component}_telemetry.py"])


def test_a_template_has_what_the_contract_says_of_the_component() -> None:
    """Owner, stages, signals with their dimensions: nothing to look up again."""
    seed = load_contract("seed")
    contract = parse_contract(files_for("ALPHA", "parser", seed)["contract.yaml"])
    mine = {s.name: s for s in seed.signals if (s.module, s.component) == ("alpha", "parser")}
    assert {s.name: s for s in contract.signals} == {
        name: s.model_copy(update={"layer": ""}) for name, s in mine.items()
    }
    assert contract.modules["ALPHA"].owner == seed.modules["ALPHA"].owner


def test_files_are_written_and_none_is_replaced(shell: Shell, tmp_path: Path) -> None:
    """A name that no event can have is refused, too."""
    call = ("coverage", "template", "ALPHA", "parser", "--contract", "seed", "-o", tmp_path / "t")
    assert shell(*call).code == 0
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "contract.yaml", "parser_telemetry.py", "test_parser_telemetry.py"
    }  # fmt: skip
    again = shell(*call)
    assert (again.code, "is there already" in again.err) == (2, True)
    assert "parser_telemetry.py" in shell("coverage", "template", "ALPHA", "parser").out
    with pytest.raises(ConfigError, match="a component is lower case"):
        files_for("ALPHA", "A b", None)


def test_a_template_tells_into_the_topic_of_its_module() -> None:
    """Where the contract names one; else nobody would read what the component tells."""
    files = files_for("BETA", "enrichment", parse_contract(CONTRACT.replace("beta", "shared")))
    assert parse_contract(files["contract.yaml"]).topic("BETA") == "telemetry.shared.v1"
    call = 'component="enrichment", broker=broker, topic="telemetry.shared.v1")'
    assert call in files["enrichment_telemetry.py"]


@pytest.mark.parametrize(
    ("module", "why"), [("beta", "spells it BETA"), ("Other", "reserved"), ("rejected", "reserved")]
)
def test_a_module_that_no_contract_could_have_gets_no_template(module: str, why: str) -> None:
    """Its piece could not be merged, or would not load."""
    with pytest.raises(ConfigError, match=why):
        files_for(module, "enrichment", parse_contract(CONTRACT))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "component"), [("ALPHA", "parser"), ("NEW", "thing")])
def test_the_test_of_a_template_passes(tmp_path: Path, module: str, component: str) -> None:
    """As it is written, before anybody changes a line."""
    if importlib.util.find_spec("streams.sdk") is None:
        pytest.skip("1 template was not run: streams.sdk is not there")
    for name, text in files_for(module, component, load_contract("seed")).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
