"""The examples of properties are the same wherever and in whatever order the tests run."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

MODULE = "\n".join(f"_{n} = {7_700_000_000 + n}" for n in range(200))


def drawn() -> list[int]:
    """Return the examples of a property."""
    found: list[int] = []

    @settings(max_examples=300, database=None)
    @given(st.integers())
    def note(n: int) -> None:
        found.append(n)

    note()
    return found


def test_what_is_imported_meanwhile_changes_no_example(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Hypothesis would draw the numbers of a module of ours from then on."""
    if pytestconfig.getoption("hypothesis_profile") not in (None, "ci"):
        pytest.skip("on fresh seeds no two runs are alike")
    before = drawn()
    place = tmp_path / "imported_late.py"
    place.write_text(MODULE, "ascii")
    spec = importlib.util.spec_from_file_location("imported_late", place)
    assert spec is not None
    assert spec.loader is not None
    with pytest.MonkeyPatch.context() as patched:
        module = importlib.util.module_from_spec(spec)
        patched.setitem(sys.modules, "imported_late", module)
        spec.loader.exec_module(module)
        assert drawn() == before
