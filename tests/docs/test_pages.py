"""The pages can be believed: commands exist, examples load, links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import (
    PAGES,
    ROOT,
    anchors,
    blocks,
    command_fault,
    commands,
    name_of,
    prose,
    text_of,
)

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_readme_opens_with_two_commands() -> None:
    """A reader needs one command to see it and one to trust it, and nothing before them."""
    shell = [
        block.text for block in blocks() if (block.page, block.language) == ("README.md", "sh")
    ]
    assert shell[:2] == ["make demo\n", "make test\n"]


def test_shell_blocks_parse() -> None:
    """What is shown as a shell's input is one."""
    shell = [block for block in blocks() if block.language in ("sh", "bash")]
    assert shell
    for block in shell:
        run = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{block.page}: {run.stderr}{block.text}"


def test_every_command_and_option_exists() -> None:
    """No page names a command or an option that the command line does not have."""
    found = list(commands())
    assert len(found) > 20
    faults = [
        f"{page}: spanloom {' '.join(words)}: {fault}"
        for page, words in found
        if (fault := command_fault(words))
    ]
    assert faults == []


def test_a_wrong_command_is_noticed() -> None:
    """The check above can fail."""
    assert command_fault(["contract", "frobnicate"]) == "no command frobnicate"
    assert command_fault(["tail", "alerts.raised.v1", "--wait"]) == "no option --wait"
    assert command_fault(["worker", "--contract", "seed"]) == ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    """`make something` names a target of the Makefile."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    assert named <= targets


def test_yaml_blocks_load() -> None:
    """Every YAML example is YAML."""
    for block in blocks():
        if block.language in ("yaml", "yml"):
            assert yaml.safe_load(block.text) is not None, block


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the repository names a file that is there, and a heading that it has."""
    text = page.read_text(encoding="utf-8")
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (page.parent / path).resolve() if path else page
        is_there = there.exists()
        if not is_there or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    """A path in running text that begins with a folder of ours leads to a file or folder."""
    text = prose(page.read_text(encoding="utf-8"))
    named = re.findall(r"`((?:streams|schemas|tests|docs|deploy|benchmarks)/[^`\s*<>]*)`", text)
    named += [f"streams/{path}" for path in re.findall(r"`((?:runtime|engine)/\w+\.py)`", text)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_pictures_name_no_host() -> None:
    """A picture loads nothing from anywhere."""
    pictures = sorted((ROOT / "docs" / "images").glob("*.svg"))
    assert {picture.name for picture in pictures} >= {"demo.svg", "architecture.svg"}
    for picture in pictures:
        text = picture.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text, picture.name


def test_every_decision_is_listed() -> None:
    """The list of decisions names each page, numbered without a gap."""
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    listed = text_of("docs/adr/README.md")
    assert [name for name in names if f"({name})" not in listed] == []
    for name in names:
        text = text_of(f"docs/adr/{name}")
        for part in ("**Context.**", "**Decision.**", "**Consequences.**", "**Considered.**"):
            assert part in text, (name, part)


def test_changes_are_grouped() -> None:
    """Who upgrades reads what changed apart from what was mended: no line stands outside."""
    kinds = ("Added", "Changed", "Improved", "Deprecated", "Removed", "Fixed", "Security")
    for release in text_of("CHANGELOG.md").split("\n## ")[1:]:
        before, *groups = release.split("\n### ")
        assert "\n- " not in before, before.splitlines()[0]
        named = [group.splitlines()[0] for group in groups]
        assert named == [kind for kind in kinds if kind in named], "each once, in this order"
        tagged = [line for line in release.splitlines() if re.match(r"- \[[A-Z]+\]", line)]
        assert tagged == []
