"""`spanloom rules test`: the shipped examples pass, differences are told, mistakes are refused."""

import json
from pathlib import Path

import pytest

from streams.contract.loader import SHIPPED
from tests.unit.cli.shell import Shell

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
TESTS = (EXAMPLES / "rule-tests.yaml").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text((EXAMPLES / "rules.yaml").read_text("utf-8"), "utf-8")
    return tmp_path


def changed(folder: Path, old: str, new: str) -> Path:
    """Return a copy of the examples' tests with one part written otherwise."""
    assert old in TESTS
    path = folder / "tests.yaml"
    path.write_text(TESTS.replace(old, new, 1), "utf-8")
    return path


@pytest.mark.parametrize(("name", "tests"), [("rule-tests.yaml", 4), ("seed-rule-tests.yaml", 7)])
def test_the_shipped_examples_pass(shell: Shell, name: str, tests: int) -> None:
    """What the page shows is true, and the shipped rules say what they should: 0, all well."""
    answer = shell("rules", "test", EXAMPLES / name)
    assert (answer.code, answer.err) == (0, "")
    assert f"{tests} of {tests} tests passed" in answer.out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fires_s: 50 ", "fires_s: 40 ", "OTHERWISE: fires_s"),
        ("value: 600", "value: 601", "OTHERWISE: value"),
        ("resolves_s: 80", "resolves_s: -1", "OTHERWISE: resolves_s"),
        ("labels: {queue: charge}", "labels: {queue: other}", "labels.queue"),
        ("values: [100x3, 600, 100x6]", "values: [100x3, 600x3, 100x6]", "NOT EXPECTED"),
        ("values: [100x3, 600x3, 100x6]", "values: [100x12]", "NOT RAISED"),
    ],
)
def test_a_difference_is_named_and_ends_with_1(
    shell: Shell, folder: Path, old: str, new: str, said: str
) -> None:
    """Too early, another value or label, an alert too many or none: each is told."""
    answer = shell("rules", "test", changed(folder, old, new))
    assert answer.code == 1
    assert said in " ".join(answer.out.split())
    assert "3 of 4 tests passed" in answer.out


def test_json_holds_what_was_raised_and_how_it_differs(shell: Shell, folder: Path) -> None:
    """One object for scripts, with the whole alert."""
    answer = shell("rules", "test", changed(folder, "fires_s: 50 ", "fires_s: 40 "), "--json")
    assert answer.code == 1
    told = json.loads(answer.out)
    first = told["tests"][0]
    assert (told["ok"], first["ok"], first["differences"][0]["fields"]) == (
        False, False, ["fires_s"],
    )  # fmt: skip
    assert first["raised"][0]["alert"]["rule_version"] == "2"
    assert first["raised"][0]["fires_s"] == 50.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("contract: rules.yaml", "contract: other.yaml", "other.yaml"),
        ("rule: charges_wait", "rule: charges_weight", "names rules that"),
        ("100x3, 600x3", "100x3, 6oox3", "'6oox3' is no value"),
        ("window_s: 10", "window: 10", "tests.yaml:3: window"),
        ("window_s: 10", "start: 2026-13-45T00:00:00Z", "is no day or time that there is"),
        ("window_s: 10", "start: 2026-02-30T00:00:00Z", "is no day or time that there is"),
    ],
)
def test_a_mistake_in_the_file_ends_with_2_and_its_place(
    shell: Shell, folder: Path, old: str, new: str, said: str
) -> None:
    """A wrong path, rule, value or key is no difference but a mistake."""
    answer = shell("rules", "test", changed(folder, old, new))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.parametrize("name", SHIPPED)
def test_a_contract_that_ships_is_named(shell: Shell, tmp_path: Path, name: str) -> None:
    """By its name alone, as everywhere."""
    series = "{module: ALPHA, name: x, values: [1]}"
    file = tmp_path / "tests.yaml"
    file.write_text(f"contract: {name}\ntests:\n  - name: quiet\n    series: [{series}]\n")
    answer = shell("rules", "test", file)
    assert (answer.code, answer.err) == (0, "")
    assert "note: quiet: no rule that is tested looks at METRIC ALPHA x" in answer.out
    told = json.loads(shell("rules", "test", file, "--json").out)
    assert told["tests"][0]["unseen"] == ["METRIC ALPHA x"]
