"""The signals task: signal partials of all partitions in; alerts, and the ended windows, out.

Owns the order of its stages: merge, end windows, evaluate rules, remember alerts. Invariant: what
is published depends on the partials and their order alone; the clock only decides how long a
window waits for partitions that lag. Its alerts' kinds are its own, so that no fingerprint of the
fidelity task is ever one of its own too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Self

from streams.core.alerts.book import AlertBook
from streams.core.alerts.settings import RuleSettings
from streams.core.signals.cell import Cell
from streams.core.signals.counts import row_of
from streams.core.signals.impact import Impact, Pipeline, StageRates
from streams.core.signals.rule import SignalRule
from streams.core.signals.series import Series
from streams.core.signals.watch import RuleWatch, WatchSettings
from streams.core.signals.windows import SignalWindows, SignalWindowSettings
from streams.core.signals.words import finding_of
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs

_FORMAT: Final = 1
SERIES_PER_RECORD: Final = 500
"""Of an ended window so many series are told in one record: a record has a largest size."""


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """Rules, how windows are merged, what is remembered, and when alerts end.

    Attributes:
        rules: in the contract's order.
        windows: how windows are laid.
        watch: bounds of what is remembered.
        alerts: `quiet_us`, `forget_us` and `max_alerts` of the alerts.
        contract_version: stamped on alerts.
    """

    rules: tuple[SignalRule, ...] = ()
    windows: SignalWindowSettings = field(default_factory=SignalWindowSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    alerts: RuleSettings = field(default_factory=RuleSettings)
    contract_version: str = ""


class SignalsTask:
    """Merges the signals of all partitions and evaluates the contract's rules over them."""

    def __init__(self, settings: SignalSettings, pipeline: Pipeline) -> None:
        self.settings = settings
        self.pipeline = pipeline
        self.windows = SignalWindows(settings.windows)
        self.rates = StageRates(settings.windows.window_us)
        self.watch = RuleWatch(settings.rules, settings.watch)
        self.alerts = AlertBook(settings.alerts)
        self._told_us = 0

    def step(self, partials: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take partials over; return the alerts and the ended windows, in their order.

        Args:
            partials: records in the shape of schemas/signal_partial.v1.avsc, in topic order. The
                consecutive ones of a partition with one watermark are its cut, taken as a whole.
            now_us: the wall clock, for the wall limit only.
            caught_up: whether the topic has been read to its end.
        """
        outputs: Outputs = []
        for _, cut in groupby(partials, key=lambda p: (p["partition"], p["watermark"])):
            for partial in cut:
                stages = self.windows.apply(partial)
                self.rates.apply(partial["partition"], partial["window_start"], stages)
            outputs += self._advance(self.windows.progress.low_us())
        outputs += self._advance(self.windows.overdue_us(now_us, caught_up))
        return outputs

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason, since the task began."""
        return dict(self.windows.discarded + self.watch.discarded + self.alerts.discarded)

    def _advance(self, target_us: int | None) -> Iterator[Output]:
        width_us = self.settings.windows.window_us
        while (end_us := self.windows.end_next(target_us)) is not None:
            cells = self.windows.take(end_us - width_us)
            found = self.watch.observe(end_us, width_us, self.windows.first_us, cells)
            findings = [
                finding_of(
                    rule,
                    series,
                    violation,
                    self.pipeline,
                    self.pipeline.impact(series, self.rates) if rule.has_impact else Impact(),
                )
                for rule, series, violation in found
            ]
            findings.sort(key=lambda finding: finding.fingerprint)
            for alert in self.alerts.update(end_us, findings, self.settings.contract_version):
                yield Output("alerts", alert["fingerprint"], alert)
            yield from self._window(end_us, cells)
        reached_us = (target_us or 0) // width_us * width_us
        if reached_us > self._told_us:
            self._told_us = reached_us
            yield self._told(reached_us - width_us, reached_us, 0, [])

    def _window(self, end_us: int, cells: Mapping[Series, Cell]) -> Iterator[Output]:
        """Tell an ended window, in parts; that all of it was told, the next watermark says."""
        start_us = end_us - self.settings.windows.window_us
        rows = [row_of(series, cell) for series, cell in cells.items()]
        for part, at in enumerate(range(0, len(rows), SERIES_PER_RECORD)):
            yield self._told(start_us, start_us, part, rows[at : at + SERIES_PER_RECORD])

    def _told(
        self, start_us: int, watermark_us: int, part: int, rows: list[dict[str, Any]]
    ) -> Output:
        """Return a record in the shape of a partial: of a single partition that is all of them."""
        record = {
            "window_start": start_us,
            "window_us": self.settings.windows.window_us,
            "partition": 0,
            "partitions_total": 1,
            "sequence": start_us + part,
            "watermark": watermark_us,
            "series": rows,
        }
        return Output("windows", str(start_us), record)

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able; `restore` gives a task that answers alike."""
        return {
            "format": _FORMAT,
            "windows": self.windows.snapshot(),
            "rates": self.rates.snapshot(),
            "watch": self.watch.snapshot(),
            "alerts": self.alerts.snapshot(),
            "told_us": self._told_us,
        }

    @classmethod
    def restore(
        cls, settings: SignalSettings, pipeline: Pipeline, snapshot: Mapping[str, Any]
    ) -> Self:
        """Return a task in the state of a snapshot.

        Raises:
            StateError: the snapshot has another format or other windows than the settings.
        """
        check_format(snapshot, _FORMAT, "signals state")
        task = cls(settings, pipeline)
        task.windows.restore(snapshot["windows"])
        task.rates.restore(snapshot["rates"])
        task.watch.restore(snapshot["watch"])
        task.alerts.restore(snapshot["alerts"])
        task._told_us = snapshot.get("told_us", 0)
        return task
