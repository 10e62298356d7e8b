"""A worker that is killed again and again loses nothing and says nothing twice.

SPANLOOM_KILLS sets how often (3), SPANLOOM_KILLS_SEED when (the same always); 10 kills read the
whole recording.
"""

import os
from pathlib import Path

import pytest

from tests.fault.harness import Deployment
from tests.fault.kills import run_kills
from tests.fault.nezha import read_recording

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

SEED = 20_261
KILLS = int(os.environ.get("SPANLOOM_KILLS", "3"))
ROWS_PER_KILL = 20_000
SECONDS_PER_KILL = 6.0


def test_kills_lose_nothing_and_repeat_nothing(deployment: Deployment, data_dir: Path) -> None:
    """After kills at any moment, with and without local state, each span is there exactly once."""
    seed = int(os.environ.get("SPANLOOM_KILLS_SEED") or SEED)
    recording = read_recording(data_dir, ROWS_PER_KILL * KILLS)
    report = run_kills(
        deployment, recording, seed=seed, kills=KILLS, feed_seconds=SECONDS_PER_KILL * KILLS
    )
    print("kills:", report)
