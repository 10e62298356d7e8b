"""Every rule between the parts of a contract, each broken once in an otherwise valid tree."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.checks import find_problems, path_text, suggestion

VALID: dict[str, Any] = {
    "modules": {"A": {}, "B": {"depends_on": ["A"]}},
    "flows": {
        "f": {
            "entry": "one",
            "wait_ms": 1000,
            "stages": [
                {"id": "one", "module": "A", "name": "n1"},
                {"id": "two", "module": "B", "name": "n2", "after": ["one"]},
                {"id": "three", "module": "B", "name": "n3", "after": ["two"]},
            ],
        }
    },
    "slos": {"short_s": 1, "long_s": 2},
    "metric_names": {"old": "pipeline.a.c.counter.m_total"},
    "playbooks": {"p": "text"},
}

# (where to put what, where the problem is, how it begins)
BROKEN: list[tuple[str, Any, str, str]] = [
    ("modules.OTHER", {}, "modules.OTHER", "'OTHER' is a reserved"),
    ("modules.rejected", {}, "modules.rejected", "'rejected' is a reserved"),
    ("modules.a", {}, "modules.a", "shares topic telemetry.a.v1 with 'A'"),
    ("modules.A B", {}, "modules.A B", "'telemetry.a b.v1' is no topic name"),
    ("modules.A.topic", "traces.assembled.v1", "modules.A", "topic traces.assembled.v1 belongs"),
    ("modules.A.depends_on", ["A"], "modules.A.depends_on", "'A' depends on itself"),
    ("modules.A.depends_on", ["AB"], "modules.A.depends_on", "unknown module 'AB'; did you"),
    ("services", {"s": {"module": "AB"}}, "services.s.module", "unknown module 'AB'; did you"),
    ("modules.A.playbook", "q", "modules.A.playbook", "unknown playbook 'q'; known: p"),
    ("flows.f.entry", "oen", "flows.f.entry", "unknown stage 'oen'; did you mean 'one'?"),
    ("flows.f.stages.0.after", ["x"], "flows.f.stages[0].after", "unknown stage 'x'"),
    ("flows.f.stages.0.required", False, "flows.f.stages[0].required", "the entry is always"),
    ("flows.f.stages.1.id", "three", "flows.f.stages[2].id", "stage 'three' is there twice"),
    ("flows.f.stages.1.module", "C", "flows.f.stages[1].module", "unknown module 'C'"),
    ("flows.f.stages.1.after", [], "flows.f.stages[1].after", "only the entry 'one'"),
    ("flows.f.stages.1.after", ["two"], "flows.f.stages[1].after", "'two' comes after itself"),
    ("flows.f.stages.1.after", ["one", "one"], "flows.f.stages[1].after", "'one' is there twice"),
    ("flows.f.stages.1.after", ["three"], "flows.f.stages", "stages wait for each other: "),
    ("flows.f.stages.0.after", ["three"], "flows.f.stages[0].after", "the entry starts the flow"),
    ("flows.f.stages.2.deadline_ms", 1001, "flows.f.stages[2].deadline_ms", "1001 ms is longer"),
    ("flows.f.stages.2.playbook", "q", "flows.f.stages[2].playbook", "unknown playbook"),
    (
        "flows.f.stages.2",
        {"id": "three", "module": "B", "name": "n2", "after": ["two"]},
        "flows.f.stages[2].name",
        "same module, component and name as 'two'",
    ),
    (
        "flows.f.stages.1.when",
        {"stage": "three", "dimension": "d", "in": ["x"]},
        "flows.f.stages[1].when.stage",
        "'three' is not upstream of 'two'; known: one",
    ),
    (
        "flows.f.stages.1.when",
        {"stage": "four", "dimension": "d", "in": ["x"]},
        "flows.f.stages[1].when.stage",
        "unknown stage 'four'",
    ),
    (
        "flows.g",
        {"entry": "e", "stages": [{"id": "e", "module": "A", "name": "n1"}]},
        "flows.g.stages[0].name",
        "the entry span of flow 'f' too",
    ),
    (
        "flows.g",
        {"entry": "e", "stages": [{"id": "e", "module": "B", "component": "c", "name": "n2"}]},
        "flows.g.stages[0].component",
        "'f.two' has component '' for the same module and name",
    ),
    ("slos.short_s", 2, "slos.short_s", "short_s 2 is not below long_s 2"),
    ("slos.burn_rate_slow", 20.0, "slos.burn_rate_slow", "burn_rate_slow 20.0 is not below"),
    (
        "slos.edges",
        [{"flow": "g", "from_stage": "one", "to_stage": "two"}],
        "slos.edges[0].flow",
        "unknown flow 'g'",
    ),
    (
        "slos.edges",
        [{"flow": "f", "from_stage": "one", "to_stage": "three"}],
        "slos.edges[0]",
        "flow 'f' has no edge one -> three",
    ),
    ("metric_names.old", "alpha_total", "metric_names.old", "'alpha_total' must read pipeline."),
    ("metric_names.old", "pipeline.z.c.gauge.m", "metric_names.old", "unknown module 'z'"),
    ("metric_names.older", "old", "metric_names.older", "'old' must read"),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the valid tree with `value` put at a dotted path."""
    tree = copy.deepcopy(VALID)
    tree["slos"] = {"burn_rate": 14.4, **tree["slos"]}
    *way, last = path.split(".")
    at: Any = tree
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at[key]
    at[int(last) if isinstance(at, list) else last] = value
    return tree


def test_the_valid_tree_has_no_problems() -> None:
    """So each case below breaks exactly what it names."""
    assert find_problems(VALID) == []


@pytest.mark.parametrize(("path", "value", "where", "begins"), BROKEN)
def test_each_rule_names_its_place(path: str, value: Any, where: str, begins: str) -> None:
    """The problem stands at the part to change, and says what is wrong with it."""
    found = [(path_text(p.loc), p.text) for p in find_problems(changed(path, value))]
    assert any(at == where and text.startswith(begins) for at, text in found), found


def test_an_optional_stage_has_neither_a_condition_nor_a_count() -> None:
    """Both would say that it is required after all."""
    tree = changed("flows.f.stages.1.required", False)
    stage = tree["flows"]["f"]["stages"][1]
    stage["min_count"] = 2
    stage["when"] = {"stage": "one", "dimension": "d", "in": ["x"]}
    assert [path_text(p.loc) for p in find_problems(tree)] == [
        "flows.f.stages[1].required",
        "flows.f.stages[1].min_count",
    ]


def test_a_typo_in_one_stage_hides_no_problem_of_another() -> None:
    """What has the wrong type is skipped, the rest is still checked."""
    tree = changed("flows.f.stages.0", {"id": 7, "module": ["A"]})
    tree["flows"]["f"]["stages"][2]["module"] = "C"
    assert "flows.f.stages[2].module" in [path_text(p.loc) for p in find_problems(tree)]


def test_two_modules_may_name_one_topic() -> None:
    """Recordings keep all their services in one."""
    tree = changed("modules.A.topic", "telemetry.other.v1")
    tree["modules"]["B"]["topic"] = "telemetry.other.v1"
    assert find_problems(tree) == []


def test_a_value_is_compared_with_the_default_of_what_is_not_written() -> None:
    """A burn_rate of 5 alone is below the default burn_rate_slow of 6."""
    tree = changed("slos", {"burn_rate": 5.0})
    assert [path_text(p.loc) for p in find_problems(tree)] == ["slos.burn_rate"]
    late = changed("flows.f.stages.2.deadline_ms", 30_001)
    del late["flows"]["f"]["wait_ms"]
    assert [path_text(p.loc) for p in find_problems(late)] == ["flows.f.stages[2].deadline_ms"]


def test_suggestions_name_the_nearest_else_what_there_is() -> None:
    """A near name is offered alone."""
    assert suggestion("parsr", ["buffer", "parser"]) == "did you mean 'parser'?"
    assert suggestion("x", ["beta", "alpha"]) == "known: alpha, beta"
    assert suggestion("x", []) == "none is declared"


# Keys the checks look at, so that trees get deep enough to meet them.
KEYS = (
    "modules", "depends_on", "flows", "entry", "wait_ms", "stages", "id", "after", "when", "stage",
    "min_count", "required", "deadline_ms", "slos", "edges", "metric_names", "A", "f",
)  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["one", "A", "f", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(junk)
def test_no_tree_is_an_exception(tree: object) -> None:
    """The checks run on whatever was written."""
    find_problems(tree)
