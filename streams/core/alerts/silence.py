"""Modules that fell silent: no event for longer than chance or habit explains, while others go on.

Owns what is known of each module's activity: since when, how long its gaps are, at which rate.
Invariant: nothing here is learned while a module is silent, so that a long silence does not become
the norm by which the next one is judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.core.alerts.finding import MODULE_SILENT, Finding, span_text, time_text
from streams.core.alerts.settings import RuleSettings
from streams.core.fidelity.merge import MergedWindows, Sample
from streams.core.fidelity.rolling import Scope
from streams.core.incidents.topology import Topology
from streams.units import SECOND_US


@dataclass(slots=True)
class Activity:
    """What a module's events have looked like.

    Attributes:
        first_us: start of the first window with an event.
        last_us: end of the last window with an event.
        longest_gap_us: longest time without an event that was no silence.
        events_per_second: mean over the long window, as of `last_us`.
        is_silent: whether the rule found it silent at the last window.
    """

    first_us: int
    last_us: int
    longest_gap_us: int = 0
    events_per_second: float = 0.0
    is_silent: bool = False


class SilenceWatch:
    """Follows the activity of every module and finds those that fell silent."""

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self.modules: dict[str, Activity] = {}
        self.refused = 0

    def observe(self, windows: MergedWindows, topology: Topology) -> list[Finding]:
        """Take the window that just ended in, and return the modules that are silent.

        A module is silent when it had events before and has had none for `silent_us`, for
        `silent_gap_factor` times its longest normal gap, and for so long that at its own rate
        `min_silent_events` were due, while the pipeline goes on: one of its upstream modules (any
        other module, when it has none) sends at its usual rate, in the latest window too. When the
        whole stream ends, or the source of a module dried up, nobody goes on and nothing is found.
        """
        assert windows.ended_us is not None
        self._learn(windows)
        end_us = windows.ended_us
        if windows.progress.reported(end_us) < windows.progress.total:
            return []  # a partition that lags may hold the module's events
        if end_us < windows.first_us + self.settings.warm_up_us + self.settings.silent_us:
            return []
        active = {name for name in self.modules if self._goes_on(name, windows)}
        found = [
            self._finding(name, windows, topology)
            for name, activity in sorted(self.modules.items())
            if self._is_silent(activity, end_us) and self._others_go_on(name, active, topology)
        ]
        silent = {finding.scope.module for finding in found}
        for name, activity in self.modules.items():
            activity.is_silent = name in silent
        return found

    def _learn(self, windows: MergedWindows) -> None:
        assert windows.ended_us is not None
        end_us, window_us = windows.ended_us, windows.settings.window_us
        for scope, counts in windows.counts_at(end_us - window_us).items():
            if scope.kind != "module" or not counts.get("events"):
                continue
            activity = self.modules.get(scope.module)
            if activity is None:
                if len(self.modules) >= self.settings.max_modules:
                    self.refused += 1
                    continue
                activity = self.modules[scope.module] = Activity(end_us - window_us, end_us)
            if not activity.is_silent:
                gap_us = end_us - window_us - activity.last_us
                activity.longest_gap_us = max(activity.longest_gap_us, gap_us)
            activity.last_us = end_us
            covered_us = min(windows.settings.long_us, end_us - activity.first_us)
            events = windows.long.total.get(scope, {}).get("events", 0)
            activity.events_per_second = events * SECOND_US / covered_us
        forget_us = end_us - self.settings.forget_us
        for name in [name for name, a in self.modules.items() if a.last_us < forget_us]:
            del self.modules[name]

    def _is_silent(self, activity: Activity, end_us: int) -> bool:
        silent_us = end_us - activity.last_us
        due = activity.events_per_second * silent_us / SECOND_US
        return (
            silent_us >= self.settings.silent_us
            and silent_us >= self.settings.silent_gap_factor * activity.longest_gap_us
            and due >= self.settings.min_silent_events
        )

    def _goes_on(self, module: str, windows: MergedWindows) -> bool:
        """Say whether a module sends at its usual rate, over the silence's length and just now."""
        assert windows.ended_us is not None
        scope = Scope("module", "", "", "", module)
        window_us = windows.settings.window_us
        silent_windows = max(1, self.settings.silent_us // window_us)
        usual = self.modules[module].events_per_second * window_us / SECOND_US
        starts = range(windows.ended_us - silent_windows * window_us, windows.ended_us, window_us)
        sent = [windows.counts_at(start).get(scope, {}).get("events", 0) for start in starts]
        least = self.settings.active_ratio * usual
        return sum(sent) >= silent_windows * least and sent[-1] >= least

    @staticmethod
    def _others_go_on(module: str, active: set[str], topology: Topology) -> bool:
        upstream = topology.upstream(module)
        return bool(active & upstream) if upstream else bool(active - {module})

    def _finding(self, module: str, windows: MergedWindows, topology: Topology) -> Finding:
        activity = self.modules[module]
        assert windows.ended_us is not None
        silent_us = windows.ended_us - activity.last_us
        rate = activity.events_per_second
        threshold_us = max(
            self.settings.silent_us, self.settings.silent_gap_factor * activity.longest_gap_us
        )
        return Finding(
            kind=MODULE_SILENT,
            scope=Scope("module", "", "", "", module),
            severity="CRITICAL",
            since_us=activity.last_us,
            last_us=windows.ended_us,
            count=round(rate * silent_us / SECOND_US),
            fresh=round(rate * windows.settings.window_us / SECOND_US),
            value=silent_us / SECOND_US,
            threshold=threshold_us / SECOND_US,
            unit="s",
            explanation=(
                f"Module {module} sent no event for the {span_text(silent_us)} up to "
                f"{time_text(windows.ended_us)}, after {rate:.3g} a second before, while other "
                f"modules went on; {span_text(threshold_us)} is the limit."
            ),
            samples=tuple(self._samples(module, windows, topology)),
        )

    def _samples(self, module: str, windows: MergedWindows, topology: Topology) -> Iterator[Sample]:
        """Yield traces that should have passed the module: a silent module shows none itself."""
        left = self.settings.max_samples
        for scope in sorted(windows.short.total):
            if scope.kind == "edge" and topology.module_of(scope.flow, scope.to_stage) == module:
                found = windows.samples(scope, "missing.", windows.settings.short_us, left)
                yield from found
                left -= len(found)
                if left <= 0:
                    return

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, list[int | float]]:
        """Return the activity of every module as JSON-able lists."""
        return {
            name: [a.first_us, a.last_us, a.longest_gap_us, a.events_per_second, int(a.is_silent)]
            for name, a in self.modules.items()
        }

    def restore(self, snapshot: Mapping[str, list[int | float]]) -> None:
        """Take over what `snapshot` returned."""
        self.modules = {
            name: Activity(int(row[0]), int(row[1]), int(row[2]), float(row[3]), bool(row[4]))
            for name, row in snapshot.items()
        }
