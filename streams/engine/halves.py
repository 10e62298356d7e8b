"""The events of traces that may be halves of a restarted context, kept for a while in memory.

A link comes within seconds of its trace's closing, and asks for the events of the last revision.
Reading them back from the output topic costs a request or two for each cut that is asked for; when
every tenth record restarts, that is more work than the join itself. Nothing depends on what is
here: what was let go, or lost with the process, is read back from the topic.
"""

from collections import OrderedDict

from streams.engine.effects import JoinEffects


class RecentHalves:
    """Events by trace, the oldest trace first, at most so many bytes.

    Args:
        bytes_max: bound on the events' bytes; beyond it the oldest traces go.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._revision: OrderedDict[bytes, tuple[int, list[bytes], int]] = OrderedDict()
        self._bytes = 0
        self.forgotten = 0
        """Traces that went because of the bound."""

    def __len__(self) -> int:
        return len(self._revision)

    def keep(self, effects: JoinEffects) -> None:
        """Keep the events of the traces of which the fragment task is told."""
        wanted = {bytes.fromhex(fragment["trace_id"]) for fragment in effects.fragments}
        for batch in effects.traces if wanted else ():
            for t, key in enumerate(batch.keys):
                if key in wanted:
                    rows = slice(int(batch.offset[t]), int(batch.offset[t + 1]))
                    # Cut out: the buffers hold whole chunks, which must not stay for one trace.
                    self._put(key, int(batch.revision[t]), list(batch.body.part(rows)))

    def take(self, key: bytes, revision: int) -> list[bytes] | None:
        """Return the events of a trace's revision and forget them; None when they are not here."""
        known = self._revision.pop(key, None)
        if known is None:
            return None
        self._bytes -= known[2]
        return known[1] if known[0] == revision else None

    def _put(self, key: bytes, revision: int, bodies: list[bytes]) -> None:
        self.take(key, revision)
        size = sum(map(len, bodies))
        self._revision[key] = revision, bodies, size
        self._bytes += size
        while self._bytes > self._bytes_max:
            _, (_, _, gone) = self._revision.popitem(last=False)
            self._bytes -= gone
            self.forgotten += 1
