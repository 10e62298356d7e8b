"""The files that add a component's telemetry: a piece of contract, code, and a test of both.

Owns their text. Invariant: the piece of contract loads as it is, the code names exactly what the
piece names, and the test fails when either is changed without the other.
"""

import json
import keyword
import re
from typing import Any, Final

import yaml

from streams.contract.checks import RESERVED_MODULES
from streams.contract.model import Contract, Stage
from streams.contract.signals import Signal
from streams.errors import ConfigError

_MODULE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_COMPONENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def files_for(module: str, component: str, contract: Contract | None) -> dict[str, str]:
    """Return the texts of the files, by name.

    Args:
        module: as the contract spells it.
        component: of the module.
        contract: says which stages and signals there are already; None for none.

    Raises:
        ConfigError: the names are none that events can have, or the module's stands in the contract
            in other letters, beside which it could not be.
    """
    if not _MODULE.fullmatch(module) or not _COMPONENT.fullmatch(component):
        raise ConfigError(
            f"{module} {component}: a module is letters, digits, _ and -; a component is lower "
            "case letters, digits and _, a letter first"
        )
    if module.upper() in RESERVED_MODULES:
        raise ConfigError(f"{module}: is a reserved module name; give the module another")
    for known in contract.modules if contract else ():
        if known != module and known.upper() == module.upper():
            raise ConfigError(f"{module}: the contract spells it {known}; give it so")
    names = _Names(module, component, contract)
    code = f"{component}_telemetry"
    return {
        "contract.yaml": names.contract_text(),
        f"{code}.py": names.code_text(),
        f"test_{code}.py": names.test_text(code),
    }


class _Names:
    """What a component tells: what the contract says, or a first stage and counter."""

    def __init__(self, module: str, component: str, contract: Contract | None) -> None:
        self.module = module
        self.component = component
        self.contract = contract
        known = contract.modules.get(module) if contract else None
        self.owner = known.owner if known else ""
        self.topic = (known.topic if known else None) or ""
        stages = [s for flow in contract.flows.values() for s in flow.stages] if contract else []
        mine = [s for s in stages if (s.module, s.component) == (module, component)]
        self.spans = list(dict.fromkeys(s.name for s in mine)) or [f"{module.lower()}.{component}"]
        self.stages: list[Stage] = mine
        self.signals: list[Signal] = [
            signal
            for signal in (contract.signals if contract else ())
            if (signal.module, signal.component) == (module.lower(), component)
        ]

    def metrics(self) -> list[tuple[str, str, str]]:
        """Return (type, last part of the name, unit) of each signal."""
        if not self.signals:
            return [("counter", "records_total", "1")]
        return [(s.type, s.name.rpartition(".")[2], s.unit) for s in self.signals]

    def contract_text(self) -> str:
        """Return a contract of this component alone, to be merged into the pipeline's."""
        stages = [
            {"id": _identifier(name), "module": self.module, "component": self.component}
            | {"name": name}
            | ({"after": [_identifier(before)]} if before else {})
            for before, name in zip(["", *self.spans], self.spans, strict=False)
        ]
        dimensions = {d for signal in self.signals for d in signal.dimensions}
        listed = {
            name: list(values)
            for name, values in (self.contract.dimensions if self.contract else {}).items()
            if name in dimensions
        }
        prefix = f"pipeline.{self.module.lower()}.{self.component}"
        signals: list[dict[str, Any]] = [
            {"name": f"{prefix}.{kind}.{name}", "unit": unit}
            | self._rest_of_signal(f"{prefix}.{kind}.{name}")
            for kind, name, unit in self.metrics()
        ]
        answers = {str(signal["answers"]) for signal in signals}
        said = self.contract.requirements if self.contract else {}
        tree: dict[str, Any] = {
            "version": "1",
            "name": self.component,
            "modules": {
                self.module: {"owner": self.owner or "who-answers-for-it"}
                | ({"topic": self.topic} if self.topic else {})
            },
            "flows": {self.component: {"entry": stages[0]["id"], "stages": stages}},
            "requirements": {
                key: said.get(key, "What people ask of it.") for key in sorted(answers)
            },
            "dimensions": listed,
            "signals": signals,
        }
        text = yaml.safe_dump(
            {key: value for key, value in tree.items() if value},
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
            width=100,
        )
        return (
            f"# What {self.module}.{self.component} tells. Merge it into the pipeline's contract:\n"
            f"# modules, stages of a flow, signals. It loads by itself, for the test.\n{text}"
        )

    def _rest_of_signal(self, name: str) -> dict[str, Any]:
        for signal in self.signals:
            if signal.name == name:
                rest: dict[str, Any] = {"description": signal.description}
                if signal.dimensions:
                    rest["dimensions"] = list(signal.dimensions)
                return rest | {"answers": signal.answers}
        return {"description": "Records that it took.", "answers": "R-1"}

    def code_text(self) -> str:
        """Return the module that instruments the component."""
        functions = [
            f'''
def {_identifier(name)}(telemetry: Telemetry, record_id: str) -> None:
    """Do the work of this stage for one record, within its span."""
    with telemetry.span({_quoted(name)}, record_id=record_id):
        pass  # the stage's own work goes here
'''
            for name in self.spans
        ]
        topic = f", topic={_quoted(self.topic)}" if self.topic else ""
        calls = [self._call(kind, name, unit) for kind, name, unit in self.metrics()]
        return (
            f'"""Tells what {self.module}.{self.component} does. Made by `spanloom coverage '
            'template`."""\n\nfrom streams.sdk import Telemetry\n\n\n'
            "def connect(broker: str) -> Telemetry:\n"
            '    """Return the telemetry of this component; one for the whole process."""\n'
            f"    return Telemetry(module={_quoted(self.module)}, "
            f"component={_quoted(self.component)}, broker=broker{topic})\n\n"
            + "\n".join(functions)
            + "\n\ndef report(telemetry: Telemetry) -> None:\n"
            '    """Tell each signal once, with the values that the component knows."""\n'
            + "\n".join(f"    {call}" for call in calls)
            + "\n\n\n"
            + self._run_text()
        )

    def _run_text(self) -> str:
        called = "\n".join(f"    {_identifier(name)}(telemetry, record_id)" for name in self.spans)
        return (
            "def run_once(telemetry: Telemetry, record_id: str) -> None:\n"
            '    """Take one record through all stages in one trace, and report."""\n'
            + (
                called
                if len(self.spans) == 1
                else f"    with telemetry.span({_quoted(self.spans[0])}, record_id=record_id):\n"
                + "\n".join(
                    f"        {_identifier(name)}(telemetry, record_id)" for name in self.spans[1:]
                )
            )
            + "\n    report(telemetry)\n"
        )

    def _call(self, kind: str, name: str, unit: str) -> str:
        method = {"counter": "count", "gauge": "gauge", "histogram": "observe"}[kind]
        value = "" if kind == "counter" else ", 0.0"
        varies = "".join(
            f", {dimension}={_quoted(self.contract.dimensions[dimension][0])}"
            for signal in self.signals
            if self.contract is not None and signal.name.endswith(f".{kind}.{name}")
            for dimension in signal.dimensions
        )
        return f"telemetry.{method}({_quoted(name)}{value}, unit={_quoted(unit)}{varies})"

    def test_text(self, code: str) -> str:
        """Return the test: all that the piece of contract names is told, and nothing else."""
        return f'''"""What {code}.py tells is what contract.yaml says; needs no broker."""

from pathlib import Path

from confluent_kafka.admin import AdminClient

from {code} import connect, run_once
from streams.contract.coverage import coverage
from streams.contract.loader import load_contract
from streams.runtime.counting import count_told
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from streams.runtime.topics import embedded_partitions
from streams.settings import load_link


def test_the_component_tells_what_its_contract_says() -> None:
    """Every stage and signal is seen, in a trace, and nothing that the contract does not name."""
    contract = load_contract(Path(__file__).with_name("contract.yaml"))
    topics = list(contract.topics())
    with EmbeddedBroker() as broker:
        client = AdminClient({{"bootstrap.servers": broker.address, "log_level": 0}})
        embedded_partitions(client, topics)
        telemetry = connect(broker.address)
        run_once(telemetry, "record-1")
        telemetry.close()
        with Reading(Link(broker.address, load_link(broker.address))) as reading:
            told = count_told(reading, topics, 1_000)
    found = coverage(contract, told.seen)
    assert told.unreadable == {{}}
    assert found.findings == ()
'''


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _identifier(name: str) -> str:
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "stage"
    text = text if text[0].isalpha() else f"stage_{text}"
    return f"{text}_stage" if keyword.iskeyword(text) else text
