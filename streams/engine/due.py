"""When a trace is due: its deadline, and the topics whose progress must have passed it.

A trace whose contract is met is due `settle_us` after its last event, without a settling time at
once; any other when its wait is over. Either way a topic that could still carry what the trace
lacks holds the answer back until its progress has passed the deadline: consumer lag delays
answers, it never falsifies them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streams.core.fidelity.masks import closable, flow_of_mask, missing_modules_mask
from streams.core.fidelity.plan import Plan
from streams.core.traces.progress import NEVER
from streams.units import I32, I64, U64, Mask

_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines of k traces.

    Attributes:
        flow: (k,) index into the plan's flows, -1 for none.
        is_met: (k,) the contract is met.
        deadline_us: (k,) stream time after which the trace is due.
        waits_for: (k, topics) topics whose progress must pass the deadline.
    """

    flow: I32
    is_met: Mask
    deadline_us: I64
    waits_for: Mask

    def passed(self, progress_us: I64) -> Mask:
        """Return which traces are due.

        Args:
            progress_us: (topics,), or (topics, k) with a column for each trace.
        """
        columns = progress_us[:, None] if progress_us.ndim == 1 else progress_us
        held = np.where(self.waits_for.T, columns, np.iinfo(np.int64).max).min(axis=0)
        return np.asarray(held > self.deadline_us)


class DueRule:
    """Computes deadlines from what is known of open traces.

    Args:
        plan: the compiled contract.
        topics: names of the task's topics.
        topic_of_module: index of the topic that carries a module's events; modules not in it
            share `other`.
        other: index of the topic of modules that the contract does not name.
        silent: indexes of topics that no trace waits for (synthetic links).
        shared: indexes of topics that carry events of any module, besides its own.
        parts: by topic index the further indexes under which its events come.
        fixed_wait_us: if set, every trace waits this long from its first event.
    """

    def __init__(
        self,
        plan: Plan,
        topics: Sequence[str],
        topic_of_module: Mapping[str, int],
        *,
        other: int,
        silent: Sequence[int] = (),
        shared: Sequence[int] = (),
        parts: Mapping[int, Sequence[int]] | None = None,
        fixed_wait_us: int | None = None,
    ) -> None:
        self._plan = plan
        self._fixed_wait_us = fixed_wait_us
        self._any = np.ones(len(topics), np.bool_)
        self._any[list(silent)] = False
        self._of_bit = np.zeros((64, len(topics)), np.bool_)
        for i, module in enumerate(plan.modules):
            self._of_bit[min(i, 63), topic_of_module.get(module, other)] = True
        self._of_bit[:, list(shared)] = True
        for topic, others in (parts or {}).items():
            self._of_bit[:, list(others)] = self._of_bit[:, [topic]]
        flows = plan.flows
        self._settle_us = np.array([f.settle_us for f in flows] or [0], np.int64)
        self._wait_us = np.array([f.wait_us for f in flows] or [0], np.int64)
        bit = {module: min(i, 63) for i, module in enumerate(plan.modules)}
        self._flow_modules = np.zeros(max(1, len(flows)), np.uint64)
        for f, flow in enumerate(flows):
            for code in flow.stage_code.tolist():
                module = plan.stage_operation[code].module
                self._flow_modules[f] |= np.uint64(1 << bit.get(module, 63))

    @property
    def awaited(self) -> Mask:
        """(topics,) the topics that traces wait for: all but the silent ones."""
        return self._any

    @property
    def longest_wait_us(self) -> int:
        """The longest wait that the contract or the settings name; 0 when none does."""
        return self._fixed_wait_us or int(self._wait_us.max())

    def deadlines(
        self, mask: U64, entry_flow: I32, first_us: I64, last_us: I64, wait_us: int
    ) -> Deadlines:
        """Return the deadlines of k open traces.

        Args:
            mask: (k, W) bits set so far.
            entry_flow: (k,) flow of the root, -1 for none.
            first_us: (k,) earliest event time.
            last_us: (k,) latest event time.
            wait_us: the learned wait, after the last event, for traces without a flow.
        """
        flow = flow_of_mask(mask, entry_flow, self._plan)
        is_met = closable(mask, flow, self._plan)
        if self._fixed_wait_us is not None:
            wait_over = first_us + self._fixed_wait_us
        else:
            wait_over = np.where(flow >= 0, first_us + self._wait_us[flow], last_us + wait_us)
        settled = np.minimum(last_us + self._settle_us[flow], wait_over)
        # After the contract is met only optional stages of the same flow can still come.
        # A flow that requires nothing lacks nothing either, and yet it waits for its stages.
        modules = missing_modules_mask(mask, flow, self._plan)
        modules = np.where(is_met | (modules == 0), self._flow_modules[flow], modules)
        deadline_us = np.where(is_met, settled, wait_over)
        topics = self._topics(modules, flow)
        # Nobody wants to wait for what is optional: what is met is due, wherever the stream stands.
        at_once = is_met & (self._settle_us[flow] == 0)
        deadline_us[at_once] = NEVER
        topics[at_once] = False
        return Deadlines(flow, is_met, deadline_us, topics)

    def _topics(self, modules: U64, flow: I32) -> Mask:
        distinct, which = np.unique(modules, return_inverse=True)
        rows = np.zeros((len(distinct), self._of_bit.shape[1]), np.bool_)
        for i, bits in enumerate(distinct.tolist()):
            if bits == int(_ALL):
                rows[i] = self._any
            else:
                for bit in range(64):
                    if bits >> bit & 1:
                        rows[i] |= self._of_bit[bit]
        out = rows[which]
        out[flow < 0] = self._any
        return np.asarray(out)
