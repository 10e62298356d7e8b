"""The alert rules of the workers, in the nights that they are for, as Prometheus judges them."""

import shutil
import subprocess

import pytest

from tests.tidy.test_deploy import RULES

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: it comes with Prometheus")
def test_the_rules_wake_somebody_when_they_should() -> None:
    """A worker that ends itself is told of, though nothing of it is there to be scraped."""
    assert PROMTOOL is not None
    told = subprocess.run(
        [PROMTOOL, "test", "rules", "rules-test.yaml"],
        cwd=RULES.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout + told.stderr
