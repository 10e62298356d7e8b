"""A worker that is killed between its outputs and its state, where there is no transaction.

`python -m tests.fault.dies_between N worker ...` is `spanloom worker ...`, but for the N-th cut
that has traces: its outputs are acknowledged, its state is never sent.
"""

import os
import signal
import sys
from collections.abc import Sequence

from streams.cli.commands import app
from streams.runtime.commit import OutRecord
from streams.runtime.delivery import AtLeastOnce

_left = [int(sys.argv.pop(1))]
_send_all = AtLeastOnce._send_all


def _dying(publisher: AtLeastOnce, records: Sequence[OutRecord], timestamp_ms: int) -> int:
    """Send the records; die after the last outputs that are to be sent."""
    end = _send_all(publisher, records, timestamp_ms)
    if any(record.topic.endswith("traces.assembled.v1") for record in records):
        _left[0] -= 1
        if not _left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    return end


AtLeastOnce._send_all = _dying  # type: ignore[method-assign]
if __name__ == "__main__":
    app()
