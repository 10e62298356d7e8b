"""The page of rights is the worker's own list: who grants what it says can start a worker."""

import re

from streams.console.archive.kinds import KINDS as KINDS_ARCHIVED
from streams.runtime.build import load_pipeline
from streams.runtime.rights import Right, of_worker
from streams.runtime.task import changelog_topic, rekey_kind
from streams.runtime.topics import AUDIT
from streams.runtime.worker import JOIN, STAGES
from streams.settings import load_settings
from tests.docs.pages import text_of

GROUP, PREFIX, SUMMARY = "G", "P", "summary_topic"
CHANGELOGS = [changelog_topic(GROUP, kind) for kind in (JOIN, *STAGES)]
KINDS = {"Topic": "topic", "Group": "group", "TransactionalId": "transactional id"}


def listed(process: str = "worker") -> set[Right]:
    """Return a process' rows of docs/security.md, wildcards written out, Create aside."""
    found = set()
    for line in text_of("docs/security.md").splitlines():
        if not line.startswith(f"| {process} |"):
            continue
        _, resource, operations, _ = (cell.strip() for cell in line.strip("|").split("|"))
        names = re.findall(r"`([^`]+)`", resource)
        wild = {"telemetry.*": ["telemetry.other.v1"], "spanloom.G.<task>.state.v1": CHANGELOGS}
        for name in wild.get(names[0], names[:1]):
            for operation in operations.split(", "):
                if operation != "Create":
                    kind = KINDS[resource.split()[0]]
                    is_prefix = resource.split()[1] == "prefix"
                    found.add(Right(kind, name, operation, is_prefix))
    return found


def test_the_page_lists_what_the_worker_asks_for() -> None:
    """Neither more, which would be granted for nothing, nor less, which would end it."""
    settings = load_settings(group=GROUP, derived_prefix=PREFIX, summary_topic=SUMMARY)
    assert listed() == set(of_worker(load_pipeline(settings), CHANGELOGS))


def test_the_page_lists_what_the_console_reads() -> None:
    """All that it archives: without one of them it ends."""
    (row,) = [line for line in text_of("docs/security.md").splitlines()
              if line.startswith("| `console` |")]  # fmt: skip
    names = re.findall(r"`([^`]+)`", row)[1:]
    read = {PREFIX + kind.topic for kind in KINDS_ARCHIVED if kind.topic}
    assert set(names) == read | {PREFIX + AUDIT, "telemetry.*"}
    assert "| Read |" in row


def test_the_page_lists_what_rekeying_asks_for_besides() -> None:
    """The rows with `rekey` are the difference that the setting makes."""
    given = {"group": GROUP, "derived_prefix": PREFIX, "summary_topic": SUMMARY}
    plain = load_pipeline(load_settings(**given))
    placing = load_pipeline(load_settings(**given, rekey="telemetry.other.v1"))
    (topic,) = placing.rekeyed
    changelog = changelog_topic(GROUP, rekey_kind("<topic>"))
    more = of_worker(placing, [changelog])
    assert topic == "telemetry.other.v1"
    assert listed("worker, with `rekey`") == set(more) - set(of_worker(plain, []))
