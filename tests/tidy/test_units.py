"""The units of deploy/systemd: settings that there are, time to stop, and systemd understands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.runtime.supervisor import KILL_SECONDS
from streams.settings import WorkerSettings
from tests.tidy.repository import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")


def values(unit: Path, name: str) -> list[str]:
    """Return what a unit gives a directive, one for each line of it."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_unit_of_workers_fits_the_worker() -> None:
    """Its variables load, a stop may take its time, and only what a restart mends is restarted."""
    (unit,) = UNITS
    given = dict(one.split("=", 1) for one in values(unit, "Environment"))
    kept = Path(given.pop("NUMBA_CACHE_DIR"))  # the compiler's own, of no setting
    assert kept.is_relative_to(Path("/var/cache") / values(unit, "CacheDirectory")[0])
    fields = WorkerSettings.model_fields
    assert set(given) <= {f"SPANLOOM_{name.upper()}" for name in fields}
    told = {name.removeprefix("SPANLOOM_").lower(): value for name, value in given.items()}
    settings = WorkerSettings(**told)  # type: ignore[arg-type]
    (folder,) = values(unit, "StateDirectory")
    assert settings.state_dir.is_relative_to(Path("/var/lib") / folder), "it may write nowhere else"
    assert float(values(unit, "TimeoutStopSec")[0]) > settings.stop_seconds_max + KILL_SECONDS
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "RestartPreventExitStatus") == ["1 2"]
    assert values(unit, "KillMode") == ["mixed"], "workers are told by their command, not twice"


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    """Every directive is known, and stands in its section."""
    assert ANALYZE is not None
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text(), flags=re.M)
    copy = tmp_path / unit.name
    copy.write_text(text, encoding="utf-8")
    told = subprocess.run(
        [ANALYZE, "verify", "--man=no", "--recursive-errors=no", str(copy)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert unit.name not in told.stderr, told.stderr
    assert told.returncode == 0, told.stderr
