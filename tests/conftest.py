"""What every test shares: hypothesis profiles and the folder of recorded data."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

# "ci" is the default everywhere: the same examples on every run, so a red build stays red until it
# is fixed. `make fuzz-properties` runs "fuzz" on fresh seeds and prints the seed of each round.
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz",
    derandomize=False,
    deadline=None,
    max_examples=1_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of recorded data; the test skips, naming the folder, when it is missing."""
    folder = Path(os.environ.get("SPANLOOM_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}: set SPANLOOM_DATA to its folder")
    return folder
