"""What every test shares: hypothesis profiles, the folder of recorded data, signals."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

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


def pytest_configure(config: pytest.Config) -> None:
    """Let what "ci" draws depend on a test's text alone.

    Hypothesis also draws the numbers and words that it finds in our modules: in those imported so
    far, which another order, another number of processes or a change elsewhere makes others. On
    fresh seeds they are worth having.
    """
    if (config.getoption("hypothesis_profile", None) or "ci") == "ci":
        none = providers._local_constants
        assert callable(providers._get_local_constants), "hypothesis finds its constants elsewhere"
        providers._get_local_constants = lambda: none


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of recorded data; the test skips, naming the folder, when it is missing."""
    folder = Path(os.environ.get("SPANLOOM_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}: set SPANLOOM_DATA to its folder")
    return folder


@pytest.fixture
def hangups() -> Iterator[None]:
    """Let SIGHUP be heard, by children too: started under `nohup`, nobody would hear it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
