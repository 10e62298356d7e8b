"""The signals task: signal partials of all partitions in, alerts out.

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
from streams.core.signals.impact import Impact, Pipeline, StageRates
from streams.core.signals.rule import SignalRule
from streams.core.signals.watch import RuleWatch, WatchSettings
from streams.core.signals.windows import SignalWindows, SignalWindowSettings
from streams.core.signals.words import finding_of
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs

_FORMAT: Final = 1


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

    def step(self, partials: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take partials over; return the alerts that follow, in the order they came about.

        Args:
            partials: records in the shape of schemas/signal_partial.v1.avsc, in topic order. The
                consecutive ones of a partition with one watermark are its cut, taken as a whole.
            now_us: the wall clock, for the wall limit only.
            caught_up: whether the topic has been read to its end.
        """
        alerts: list[dict[str, Any]] = []
        for _, cut in groupby(partials, key=lambda p: (p["partition"], p["watermark"])):
            for partial in cut:
                stages = self.windows.apply(partial)
                self.rates.apply(partial["partition"], partial["window_start"], stages)
            alerts += self._advance(self.windows.progress.low_us())
        alerts += self._advance(self.windows.overdue_us(now_us, caught_up))
        return [Output("alerts", alert["fingerprint"], alert) for alert in alerts]

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason, since the task began."""
        return dict(self.windows.discarded + self.watch.discarded + self.alerts.discarded)

    def _advance(self, target_us: int | None) -> Iterator[dict[str, Any]]:
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
            yield from self.alerts.update(end_us, findings, self.settings.contract_version)

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able; `restore` gives a task that answers alike."""
        return {
            "format": _FORMAT,
            "windows": self.windows.snapshot(),
            "rates": self.rates.snapshot(),
            "watch": self.watch.snapshot(),
            "alerts": self.alerts.snapshot(),
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
        return task
