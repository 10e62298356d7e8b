"""The fidelity task: partials of all partitions in, published statistics and alerts out.

Owns the order of the global stage: merge, end windows, publish, judge. Invariant: what is published
depends on the partials and their order alone; the clock only decides how long a window waits for
partitions that lag.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Self

from streams.core.alerts.book import AlertBook
from streams.core.alerts.ownership import with_rules
from streams.core.alerts.rules import evaluate
from streams.core.alerts.settings import RuleSettings
from streams.core.alerts.silence import SilenceWatch
from streams.core.fidelity.merge import MergedWindows, MergeSettings
from streams.core.fidelity.merge_state import restore_windows, snapshot_windows
from streams.core.fidelity.stats import Row, StatsPublisher, row_key
from streams.core.incidents.topology import Topology
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class FidelitySettings:
    """How partials are merged, and from where on an alert fires."""

    merge: MergeSettings = field(default_factory=MergeSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)


class FidelityTask:
    """Merges the partials of all partitions and watches what comes out."""

    def __init__(self, settings: FidelitySettings, topology: Topology) -> None:
        self.settings = settings
        self.topology = topology
        self.windows = MergedWindows(settings.merge)
        self.publisher = StatsPublisher(self.windows, topology)
        self.silence = SilenceWatch(settings.rules)
        self.alerts = AlertBook(settings.rules)

    def step(self, partials: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take partials over; return the rows and alerts that follow, in the order they came about.

        Args:
            partials: records in the shape of schemas/fidelity_partial.v1.avsc, in topic order. The
                consecutive ones of a partition with one watermark are its cut, taken as a whole.
            now_us: the wall clock, for the wall limit only.
            caught_up: whether the topic has been read to its end.
        """
        rows: list[Row] = []
        alerts: list[dict[str, Any]] = []
        for _, cut in groupby(partials, key=lambda p: (p["partition"], p["watermark"])):
            for partial in cut:
                self.windows.apply(partial)
            self._advance(self.windows.progress.low_us(), rows, alerts)
        self._advance(self.windows.overdue_us(now_us, caught_up), rows, alerts)
        rows += self.publisher.publish_dirty(self.windows.take_dirty())
        self.windows.seal()
        self.publisher.forget(self.windows.sealed_before_us())
        return [
            *(Output("stats", row_key(row), row) for row in rows),
            *(Output("alerts", alert["fingerprint"], alert) for alert in alerts),
        ]

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason, since the task began."""
        counted = self.windows.discarded + self.alerts.discarded
        return {**counted, "module_over_bound": self.silence.refused}

    def _advance(
        self, target_us: int | None, rows: list[Row], alerts: list[dict[str, Any]]
    ) -> None:
        for end_us in self._ends(target_us):
            rows += self.publisher.publish_ended(end_us)
            findings = [
                *self.silence.observe(self.windows, self.topology),
                *evaluate(self.windows, self.topology, self.settings.rules),
            ]
            window = self.windows.windows.get(end_us - self.settings.merge.window_us)
            version = window.contract_version() if window is not None else ""
            named = with_rules(findings, self.windows, self.topology)
            alerts += self.alerts.update(end_us, named, version)

    def _ends(self, target_us: int | None) -> Iterator[int]:
        while (end_us := self.windows.end_next(target_us)) is not None:
            yield end_us

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able; `restore` gives a task that answers alike."""
        return {
            "format": _FORMAT,
            "windows": snapshot_windows(self.windows),
            "published": self.publisher.snapshot(),
            "silence": self.silence.snapshot(),
            "alerts": self.alerts.snapshot(),
        }

    @classmethod
    def restore(
        cls, settings: FidelitySettings, topology: Topology, snapshot: Mapping[str, Any]
    ) -> Self:
        """Return a task in the state of a snapshot.

        Raises:
            StateError: the snapshot has another format or other windows than the settings.
        """
        check_format(snapshot, _FORMAT, "fidelity state")
        task = cls(settings, topology)
        restore_windows(task.windows, snapshot["windows"])
        task.publisher.restore(snapshot["published"])
        task.silence.restore(snapshot["silence"])
        task.alerts.restore(snapshot["alerts"])
        return task
