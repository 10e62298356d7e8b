"""Does a worker that is killed at random lose spans, or publish them twice? On a real broker.

Deletes all topics of the broker it is given; use one of its own:

    PORT=29600 deploy/kafka/broker.sh start --fresh
    python -m benchmarks.kills --broker 127.0.0.1:29600 --data ../shared/data --kills 10

The seed decides when the worker dies and which restarts find no local state; it is printed first.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.fault.harness import Deployment
from tests.fault.kills import run_kills
from tests.fault.nezha import read_recording

SECONDS_PER_KILL = 6.0


def main() -> None:
    """Run the kills and print what was measured; an AssertionError names what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", default="", help="HOST:PORT of a broker without other users")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=200_000, help="first rows of the recording")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    given = parser.parse_args()
    if not given.broker:
        print("kills: skipped: --broker HOST:PORT names no broker whose topics may be deleted")
        return
    recording = read_recording(given.data, given.rows)
    with tempfile.TemporaryDirectory(prefix="spanloom-kills-") as folder:
        deployment = Deployment(given.broker, Path(folder), f"kills-{given.seed}-{time.time_ns()}")
        deployment.delete_topics()
        try:
            report = run_kills(
                deployment,
                recording,
                seed=given.seed,
                kills=given.kills,
                feed_seconds=SECONDS_PER_KILL * given.kills,
            )
        finally:
            deployment.end()
    print(f"lives (seconds): {report.lives}")
    print(f"restarts without local state: {report.without_state}")
    print(f"start to restored (seconds): {report.restored_seconds}")
    print(f"revisions {report.revisions} of {len(recording.spans)} traces, {report.accounting}")
    print(f"{recording.distinct} spans: 0 lost, 0 twice")


if __name__ == "__main__":
    main()
