"""What the state of a join task knows of the traces that it is about to close.

Owns the reading of topics (late, silent, wrongly partitioned), rejections and bounds into the
masks of `core.fidelity.causes`. Invariant: a mask names a module only through its topic, and only
when the contract says which topic that is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streams.core.fidelity import causes
from streams.core.fidelity.masks import ANY_MODULE
from streams.core.fidelity.plan import Plan
from streams.engine.effects import CLOSED_BY_BOUND
from streams.engine.join_state import JoinState
from streams.units import I64, U8, U64, Mask


class Knowledge:
    """Answers what is known of traces, for one contract and its topics.

    Args:
        plan: names the modules.
        topic_of_module: topic index by module name; empty when nothing says it.
        other: topic index of the modules that the contract does not name.
        shared: topic indexes that carry events of any module, besides its own topic.
        parts: by topic index the further indexes under which its events come.
    """

    def __init__(
        self,
        plan: Plan,
        topic_of_module: Mapping[str, int],
        other: int,
        shared: Sequence[int] = (),
        parts: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self._bit = causes.module_bits(plan)
        self._bits_of_topic: dict[int, int] = {}
        for module, topic in topic_of_module.items():
            bit = self._bit.get(module, causes.OTHER_MODULES)
            self._bits_of_topic[topic] = self._bits_of_topic.get(topic, 0) | bit
        self._bits_of_topic |= dict.fromkeys(shared, int(ANY_MODULE))
        self._is_shared = bool(shared)
        self._other_bits = {other: causes.OTHER_MODULES} if topic_of_module else {}
        sharing = Counter(topic_of_module.values())
        self.own_module = {
            topic: module
            for module, topic in topic_of_module.items()
            if sharing[topic] == 1 and topic != other
        }
        """The module of each topic that carries no other."""
        self._indexes_of = {topic: [topic] for topic in self.own_module}
        for topic, others in (parts or {}).items():
            for by_topic in (self._bits_of_topic, self._other_bits, self.own_module):
                _spread(by_topic, topic, others)
            self._indexes_of.get(topic, []).extend(others)

    def of(self, state: JoinState, slots: I64, keys: list[bytes], by: U8) -> U64:
        """Return (k, 5) what is known of the traces in `slots`, as `causes.explain` takes it.

        Args:
            state: the task's state.
            slots: (k,) live slots.
            keys: their k trace ids.
            by: (k,) what closes each of them.
        """
        columns = {
            causes.LATE: self._bits(np.flatnonzero(state.progress.late_sources()).tolist()),
            causes.SILENT: self._silent(state, state.open.slots["first_us"][slots]),
            causes.REJECTED: self._rejected(state, keys),
            causes.IN_FLIGHT: by == CLOSED_BY_BOUND,
        }
        if not state.partitioners.misplaced() and not any(np.any(c) for c in columns.values()):
            return causes.nothing_known(len(slots))
        known = np.zeros((len(slots), len(causes.KNOWN_NAMES)), np.uint64)
        for column, values in columns.items():
            known[:, column] = values
        known[:, causes.MISPARTITIONED] = self._misplaced(state, slots)
        return known

    def _bits(self, topics: list[int]) -> np.uint64:
        bits = 0
        for topic in topics:
            bits |= self._bits_of_topic.get(topic, 0)
        return np.uint64(bits)

    def _silent(self, state: JoinState, start_us: I64) -> U64:
        """Return (k,) the modules that sent nothing since a trace began, though all was read."""
        silent = np.zeros(len(start_us), np.uint64)
        if self._is_shared:
            return silent  # whose own topic is silent may speak by a shared one
        progress = state.progress
        for topic, indexes in self._indexes_of.items():
            is_read = progress.clock_us[indexes].min() > start_us
            is_silent = is_read & (progress.max_us[indexes].max() < start_us)
            bit = np.uint64(self._bit.get(self.own_module[topic], causes.OTHER_MODULES))
            silent[is_silent] |= bit
        return silent

    def _rejected(self, state: JoinState, keys: list[bytes]) -> U64:
        """Return (k,) the modules of which an event of the trace was rejected."""
        out = np.zeros(len(keys), np.uint64)
        if len(state.rejected):
            for i, key in enumerate(keys):
                for module in state.rejected.modules(key):
                    out[i] |= np.uint64(self._bit.get(module, causes.OTHER_MODULES))
        return out

    def _misplaced(self, state: JoinState, slots: I64) -> U64:
        """Return (k,) the modules whose events lie in other partitions than the trace.

        Where all that came of a trace came by such topics, it is the trace that lies in the wrong
        partition: then any module may have its events elsewhere.
        """
        topics = list(state.partitioners.misplaced())
        if not topics:
            return np.zeros(len(slots), np.uint64)
        bits = self._bits(topics)
        for topic in topics:
            bits |= np.uint64(self._other_bits.get(topic, 0))
        return np.where(self._is_astray(state, slots, topics), ANY_MODULE, bits)

    @staticmethod
    def _is_astray(state: JoinState, slots: I64, topics: list[int]) -> Mask:
        """Return (k,) whether all events of a trace came by these topics."""
        rows, owner = state.open.gather(slots)
        is_recalled = state.open.rows["is_recalled"][rows]
        # By which topic recalled events came is forgotten; their trace's last revision knew.
        topic = state.open.rows["topic"][rows]
        by_others = ~is_recalled & ~np.isin(topic, topics) & ~state.is_link_topic[topic]
        is_astray = np.bincount(owner[by_others], minlength=len(slots)) == 0
        had_events = np.bincount(owner[is_recalled], minlength=len(slots)) > 0
        before = state.open.known(slots)[:, causes.MISPARTITIONED] == ANY_MODULE
        return np.asarray(is_astray & (~had_events | before))


def _spread(by_topic: dict[int, Any], topic: int, others: Sequence[int]) -> None:
    """Let what is known of a topic be known of the other indexes of it too."""
    if topic in by_topic:
        by_topic.update(dict.fromkeys(others, by_topic[topic]))
