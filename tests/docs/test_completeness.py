"""The pages are complete: every setting, topic, reason, cause and operator action is in them."""

import ast
import json
import re
import tomllib
from typing import get_args

import yaml

from streams import errors
from streams.cli.asking import KEY_VARIABLE
from streams.cli.query import URL_VARIABLE
from streams.codec import checks
from streams.collector.settings import CollectorSettings
from streams.console.metrics import CONSOLE_CATALOGUE
from streams.console.settings import ConsoleSettings
from streams.core.alerts import finding
from streams.core.fidelity.judge import TRACE_STATUSES
from streams.core.fidelity.missing import CAUSES
from streams.engine.join_state import ACCOUNTS
from streams.monitoring.collector_metrics import COLLECTOR_CATALOGUE
from streams.monitoring.liveness import Cause
from streams.monitoring.metrics import CATALOGUE
from streams.monitoring.notify_metrics import NOTIFY_CATALOGUE
from streams.notify.settings import NotifySettings
from streams.runtime.registry_settings import RegistryLink
from streams.settings import KafkaLink, WorkerSettings
from tests.docs.pages import PAGES, ROOT, name_of, options_of, rows, text_of

ACTION = "Operator action: "
ACTION_CHARACTERS = 25  # enough to tell them apart; what follows may hold names
ENVIRONMENT_OF_TESTS = {
    "SPANLOOM_DATA", "SPANLOOM_TEST_BROKER", "SPANLOOM_TEST_BROKER_WIPE", "SPANLOOM_KILLS",
    "SPANLOOM_KILLS_SEED", "SPANLOOM_FAULT_SEED",
    "SPANLOOM_BROKER_AWAY_SECONDS", "SPANLOOM_TEST_REGISTRY", "SPANLOOM_TEST_REGISTRY_JAVA",
    "SPANLOOM_PYTHON", "SPANLOOM_KAFKA_HOME", "SPANLOOM_KAFKA_JAVA_OPTS",
    "SPANLOOM_CRASH_POINT", "SPANLOOM_ALERTMANAGER", "SPANLOOM_PROMETHEUS",
    "SPANLOOM_VERSITYGW", "SPANLOOM_OTELCOL",
    "SPANLOOM_NOTIFY",  # what SPANLOOM_NOTIFY_* is read as
    "SPANLOOM_CONSOLE",  # what SPANLOOM_CONSOLE_* is read as
    "SPANLOOM_COLLECTOR",  # what SPANLOOM_COLLECTOR_* is read as
    "SPANLOOM_REGISTRY",  # what SPANLOOM_REGISTRY_* is read as
    "SPANLOOM_KAFKA",  # what SPANLOOM_KAFKA_* is read as
}  # fmt: skip


def settings() -> dict[str, object]:
    """Return every setting's default by its name: SPANLOOM_ and the name in capitals sets it."""
    links = {f"kafka_{name}": field for name, field in KafkaLink.model_fields.items()}
    telling = {f"notify_{name}": field for name, field in NotifySettings.model_fields.items()}
    telling |= {f"console_{name}": field for name, field in ConsoleSettings.model_fields.items()}
    telling |= {f"collector_{n}": field for n, field in CollectorSettings.model_fields.items()}
    telling |= {f"registry_{name}": field for name, field in RegistryLink.model_fields.items()}
    fields = WorkerSettings.model_fields | links | telling
    return {name: field.get_default(call_default_factory=True) for name, field in fields.items()}


def sources() -> dict[str, str]:
    """Return the package's modules by name."""
    files = sorted((ROOT / "streams").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def strings(source: str) -> list[str]:
    """Return the texts of a module; what is filled in later is a NUL."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def reasons(source: str) -> set[str]:
    """Return the reasons that a module counts: the third argument of `count`, whatever it is."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = ("count", "count_events")
    counting = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in names]
    nodes = [node for call in counting for arg in call.args[2:] for node in ast.walk(arg)]
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_every_setting_is_listed_with_its_default() -> None:
    """docs/settings.md has a row for each setting, and no other."""
    listed = {cells[0].strip("`"): cells for cells in rows("docs/settings.md")}
    assert set(listed) == set(settings())
    for name, default in settings().items():
        shown = listed[name][1].strip("`")
        assert shown == (str(default) or '""'), name


def test_every_flag_of_the_worker_is_listed() -> None:
    """The column of flags holds exactly the options of `spanloom worker`."""
    listed = {cells[2].strip("`") for cells in rows("docs/settings.md")} - {""}
    assert listed == options_of("worker") - {"--help"}


def test_every_environment_variable_is_a_setting() -> None:
    """Neither the pages nor the compose file name a variable that nothing reads."""
    names = {f"SPANLOOM_{name.upper()}" for name in settings()} | {URL_VARIABLE, KEY_VARIABLE}
    for page in (*PAGES, ROOT / "docker-compose.yml"):
        named = set(re.findall(r"SPANLOOM_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
        assert named - names - ENVIRONMENT_OF_TESTS == set(), name_of(page)


def test_every_metric_is_listed() -> None:
    """docs/monitoring.md has a row for each metric, in the order and the words of the catalogue."""
    listed = {cells[0].strip("`"): cells[1:] for cells in rows("docs/monitoring.md")}
    metrics = {name: cells for name, cells in listed.items() if name.startswith("spanloom_")}
    catalogue = {**CATALOGUE, **NOTIFY_CATALOGUE, **CONSOLE_CATALOGUE, **COLLECTOR_CATALOGUE}
    assert list(metrics) == list(catalogue)
    for name, entry in catalogue.items():
        labels = ", ".join(f"`{label}`" for label in entry.labels)
        assert metrics[name] == [entry.kind, labels, entry.text], name


def test_every_cause_of_ill_health_is_listed() -> None:
    """docs/monitoring.md explains what /health may complain of."""
    listed = {cells[0].strip("`") for cells in rows("docs/monitoring.md")}
    assert set(get_args(Cause)) <= listed


def test_every_topic_is_listed() -> None:
    """docs/topics.md has the topics of the catalogue with partitions and retention."""
    catalog = yaml.safe_load(text_of("schemas/topics.yaml"))
    listed = {cells[0].strip("`"): cells for cells in rows("docs/topics.md")}
    assert set(listed) == set(catalog["topics"])
    for name, entry in catalog["topics"].items():
        assert listed[name][1].split(",")[0] == str(entry["partitions"]), name
        assert listed[name][4].split(",")[0] == str(entry["retention"]), name


def test_every_schema_id_is_listed() -> None:
    """docs/topics.md names each schema with its id."""
    text = text_of("docs/topics.md")
    for name, entry in yaml.safe_load(text_of("schemas/topics.yaml"))["schemas"].items():
        assert f"| {entry['id']} | `{name}` |" in text, name


def test_every_rejection_reason_is_explained() -> None:
    """docs/semantics.md has a row for each reason, in the order of the checks."""
    raised = set()
    for source in sources().values():
        raised |= set(re.findall(r'RecordError\(\s*"(\w+)"', source))
    listed = [cells[0].strip("`") for cells in rows("docs/semantics.md")]
    assert raised | set(checks.REASONS) <= set(listed)
    order = [name for name in listed if name in checks.REASONS]
    assert order == list(checks.REASONS)


def test_every_reason_of_an_account_is_explained() -> None:
    """What `spanloom stats` shows as a reason is in docs/semantics.md."""
    text = text_of("docs/semantics.md")
    shown = set()
    for name, source in sources().items():
        if name.startswith("streams/engine/"):
            shown |= reasons(source)
    assert {"while_open", "trace_too_large", "after_closed_retention"} <= shown
    assert [name for name in shown if f"`{name}`" not in text] == []
    assert [name for name in ACCOUNTS if name not in text] == []


def test_every_name_on_the_wire_is_explained() -> None:
    """Statuses, causes, what closed a trace, and kinds of alert are in docs/semantics.md."""
    text = text_of("docs/semantics.md")
    schema = json.loads(text_of("schemas/assembled_trace.v1.avsc"))
    (closed_by,) = (f["type"]["symbols"] for f in schema["fields"] if f["name"] == "closed_by")
    kinds = [
        value
        for name, value in vars(finding).items()
        if name.isupper() and isinstance(value, str) and value.islower() and "_" in value
    ]
    assert len(kinds) >= 8
    for name in (*TRACE_STATUSES, *CAUSES, *closed_by, *kinds):
        assert re.search(rf"\b{name}\b", text), name


def test_every_operator_action_is_in_the_runbook() -> None:
    """What an error tells people to do, the runbook explains."""
    text = " ".join(text_of("docs/runbook.md").split()).lower()
    actions = set()
    for name, source in sources().items():
        for said in strings(source) if name != "streams/errors.py" else ():
            _, found, action = said.partition(ACTION)
            if found:
                actions.add(action.split("\0")[0][:ACTION_CHARACTERS].rstrip(". ").lower())
    actions -= {""}
    assert len(actions) > 15
    assert sorted(action for action in actions if action not in text) == []


def test_every_exit_code_is_in_the_runbook() -> None:
    """The codes of the errors are in the table."""
    codes = {e.exit_code for e in vars(errors).values() if hasattr(e, "exit_code")}
    text = text_of("docs/runbook.md")
    assert codes == {1, 2, 3}
    assert all(f"| {code} | " in text for code in (0, *codes, 130))


def test_every_dependency_is_explained() -> None:
    """The decision on dependencies names what pyproject.toml pins, by version."""
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    pinned = dict(re.sub(r"\[.*\]", "", one).split("==") for one in project["dependencies"])
    listed = {cells[0].strip("`"): cells[1] for cells in rows("docs/adr/0008-dependencies.md")}
    assert listed == pinned
    assert project["readme"] == "README.md"


def test_every_room_of_the_code_is_explained() -> None:
    """docs/architecture.md names each package and each module at the top of streams."""
    text = text_of("docs/architecture.md")
    packages = [path.parent.name for path in (ROOT / "streams").glob("*/__init__.py")]
    modules = [p.name for p in (ROOT / "streams").glob("*.py") if not p.name.startswith("_")]
    assert [name for name in packages if f"`{name}/`" not in text] == []
    assert [name for name in modules if f"`{name}`" not in text] == []
