"""The traces of which an event was rejected, and the module it came from.

What was rejected is never in the trace, and a stage that misses in it for this reason did not get
lost on the way. Invariant: at most `limit` traces are remembered; beyond it the oldest goes and is
counted.
"""

from collections.abc import Iterable, Sequence


class RejectedTraces:
    """Remembers of which traces, and of which module, an event was rejected."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._modules: dict[bytes, tuple[str, ...]] = {}
        self._fresh: list[tuple[bytes, str]] = []
        self.forgotten = 0
        """Traces dropped because of the bound, since the start of this process."""

    def __len__(self) -> int:
        return len(self._modules)

    def add(self, entries: Iterable[tuple[bytes, str]]) -> int:
        """Remember traces with the module of what was rejected; return how many older ones went."""
        before = self.forgotten
        for key, module in entries:
            known = self._modules.get(key, ())
            if module in known:
                continue
            self._modules[key] = (*known, module)
            self._fresh.append((key, module))
            if len(self._modules) > self._limit:
                del self._modules[next(iter(self._modules))]
                self.forgotten += 1
        del self._fresh[: -self._limit]
        return self.forgotten - before

    def modules(self, key: bytes) -> tuple[str, ...]:
        """Return the modules of which an event of a trace was rejected."""
        return self._modules.get(key, ())

    def entries(self, *, full: bool) -> Sequence[tuple[bytes, str]]:
        """Return what was remembered since the last cut, or all that is."""
        if not full:
            return list(self._fresh)
        return [(key, module) for key, modules in self._modules.items() for module in modules]

    def sealed(self) -> None:
        """Begin the next cut."""
        self._fresh = []
