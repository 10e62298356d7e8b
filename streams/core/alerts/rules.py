"""The rules that judge shares: burn, errors, deadlines, duplicates, skew, restarted contexts.

Invariant: a rule reads ended windows only, so a window still filling never fires. A rule that finds
a share also finds its episode: the run of windows that carry the violation, so that "since" is when
it began and not when the rule noticed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from streams.core.alerts.finding import (
    CLOCK_SKEW,
    CONTEXT_RESTARTED,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISPARTITIONED,
    MISSING_ACKNOWLEDGMENT,
    Finding,
    span_text,
    time_text,
)
from streams.core.alerts.settings import RuleSettings
from streams.core.fidelity.merge import MergedWindows
from streams.core.fidelity.rolling import Counts, Scope
from streams.core.fidelity.stats import burn_rate
from streams.core.incidents.topology import Place, Topology
from streams.core.traces.partitioners import COUNTER_PREFIX, Misplaced

_RUN_GAP_WINDOWS: Final = 3
"""Violating windows this close belong to one episode: at low traffic not every window has one."""


@dataclass(frozen=True, slots=True)
class Episode:
    """The windows that carry a violation: bounds, violations, and the counts added up."""

    since_us: int
    last_us: int
    count: int
    fresh: int
    counts: Counts


def episode(
    windows: MergedWindows,
    scope: Scope,
    width_us: int,
    bad: Callable[[Counts], int],
    limit: Callable[[Counts], float],
    is_strict: bool = False,
) -> Episode | None:
    """Return the heaviest run of violating windows of a scope within the last `width_us`.

    A window violates when its bad count reaches its own limit; when none does (the violations are
    thinly spread), every window with a bad record does. Of equally heavy runs the latest wins.
    None when no window violates.

    Args:
        windows: the merged windows; `windows.ended_us` is now.
        scope: whose.
        width_us: how far to look back.
        bad: the violations among a window's counts.
        limit: how many violations of a window's counts are too many.
        is_strict: whether only windows over their own limit violate.
    """
    assert windows.ended_us is not None
    window_us = windows.settings.window_us
    series = windows.series(scope, width_us)
    violating = [(s, c) for s, c in series if bad(c) > 0 and bad(c) >= limit(c)]
    if not is_strict:
        violating = violating or [(s, c) for s, c in series if bad(c) > 0]
    if not violating:
        return None
    runs: list[list[tuple[int, Counts]]] = []
    for start_us, counts in violating:
        if runs and start_us - runs[-1][-1][0] <= _RUN_GAP_WINDOWS * window_us:
            runs[-1].append((start_us, counts))
        else:
            runs.append([(start_us, counts)])
    run = max(runs, key=lambda r: (sum(bad(c) for _, c in r), r[0][0]))
    last_start_us, last = series[-1]
    total: Counts = {}
    for _, counts in run:
        for name, n in counts.items():
            total[name] = total.get(name, 0) + n
    return Episode(
        since_us=run[0][0],
        last_us=run[-1][0] + window_us,
        count=sum(bad(counts) for _, counts in run),
        fresh=bad(last) if last_start_us == windows.ended_us - window_us else 0,
        counts=total,
    )


def burning_edges(
    windows: MergedWindows, topology: Topology, settings: RuleSettings
) -> Iterator[Finding]:
    """Yield the edges whose error budget burns too fast over both the short and the long window.

    The long window proves that it matters, the short one that it still goes on.

    Source: Google SRE workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
    """
    for scope, counts in windows.short.total.items():
        expected, observed = counts.get("expected", 0), counts.get("observed", 0)
        missing = expected - observed
        if scope.kind != "edge" or missing < settings.min_missing:
            continue
        slo = topology.slo(scope.flow, scope.from_stage, scope.to_stage, windows.settings.slo_ratio)
        long = windows.long.total.get(scope, {})
        burns = (
            burn_rate(expected, observed, slo),
            burn_rate(long.get("expected", 0), long.get("observed", 0), slo),
        )
        if expected >= settings.min_expected and min(burns) >= settings.burn_rate:
            yield from _burn_finding(windows, topology, settings, scope, (slo, *burns))


def _burn_finding(
    windows: MergedWindows,
    topology: Topology,
    settings: RuleSettings,
    scope: Scope,
    rates: tuple[float, float, float],
) -> Iterator[Finding]:
    slo, short, long = rates
    counts = windows.short.total[scope]
    share = settings.burn_rate * (1 - slo)
    found = episode(
        windows,
        scope,
        windows.settings.short_us,
        lambda c: c.get("expected", 0) - c.get("observed", 0),
        lambda c: share * c.get("expected", 0),
    )
    if found is None:
        return
    expected = counts["expected"]
    missing = expected - counts.get("observed", 0)
    is_acknowledgment = Place(scope.flow, scope.to_stage) in topology.acknowledgment
    what = "acknowledgment" if is_acknowledgment else "hop"
    causes = sorted(
        ((n, name) for name, n in counts.items() if name.startswith("missing.")), reverse=True
    )
    listed = ", ".join(f"{name.removeprefix('missing.')} {n}" for n, name in causes[:3])
    named = f" ({listed})" if listed else ""
    flow = f" of flow {scope.flow}" if scope.flow else ""
    assert windows.ended_us is not None
    yield Finding(
        kind=MISSING_ACKNOWLEDGMENT if is_acknowledgment else FIDELITY_BURN,
        scope=scope,
        severity="CRITICAL" if missing >= settings.severe_ratio * expected else "ERROR",
        since_us=found.since_us,
        last_us=found.last_us,
        count=found.count,
        fresh=found.fresh,
        value=short,
        threshold=settings.burn_rate,
        unit="burn rate",
        explanation=(
            f"The {what} {_place(scope)}{flow} lost {missing} "
            f"of {expected} traces in the {span_text(windows.settings.short_us)} up to "
            f"{time_text(windows.ended_us)}{named}: burn rate {short:.1f}, "
            f"and {long:.1f} over {span_text(windows.settings.long_us)}, where "
            f"{settings.burn_rate:g} is the limit for an objective of {slo:.2%}."
        ),
        samples=tuple(
            windows.samples(scope, "missing.", windows.settings.short_us, settings.max_samples)
        ),
    )


@dataclass(frozen=True, slots=True)
class ShareRule:
    """A rule of the form: of the `of` of a scope, at least `ratio` and `minimum` are `bad`.

    Attributes:
        kind: of the alert.
        scope_kind: of the scopes that it looks at.
        bad, of: the two counters.
        ratio, minimum: thresholds of the share and of the bad count.
        severity, severe: normally, and from `RuleSettings.severe_ratio` on.
        is_slow: looks back twice the short window, for counts that come after a second join.
        is_local: the share is that of the violating windows, not of the whole look-back: for what
            hits every record while it lasts, and shows before the look-back is full of it.
        sentence: says what happens, with {bad}, {of}, {place} and {share}.
    """

    kind: str
    scope_kind: str
    bad: str
    of: str
    ratio: float
    minimum: int
    severity: str
    severe: str
    sentence: str
    is_slow: bool = False
    is_local: bool = False


def share_rules(settings: RuleSettings) -> tuple[ShareRule, ...]:
    """Return the share rules with their thresholds."""
    return (
        ShareRule(
            ERROR_SPANS, "stage", "errors", "spans", settings.error_ratio, settings.min_errors,
            "ERROR", "CRITICAL", "{bad} of {of} spans of {place} ended in an error",
        ),
        ShareRule(
            DEADLINE_MISSED, "stage", "deadline_missed", "spans", settings.deadline_ratio,
            settings.min_deadline_missed, "WARN", "ERROR",
            "{bad} of {of} spans of {place} ended after their deadline",
        ),
        ShareRule(
            DUPLICATE_RATE, "module", "duplicate", "events", settings.duplicate_ratio,
            settings.min_duplicates, "WARN", "WARN",
            "{bad} of {of} events of {place} had come before",
        ),
        ShareRule(
            CLOCK_SKEW, "edge", "gap_negative", "gap_count", settings.skew_ratio,
            max(1, round(settings.skew_ratio * settings.min_gaps)), "WARN", "WARN",
            "{bad} of {of} records seem to reach the far stage of {place} before they left the "
            "near one, by their modules' clocks", is_local=True,
        ),
        ShareRule(
            CONTEXT_RESTARTED, "edge", "restarted", "expected", settings.restarted_ratio,
            settings.min_restarted, "ERROR", "CRITICAL",
            "{bad} of {of} records go on under a new trace id after {place}", is_slow=True,
        ),
    )  # fmt: skip


def violated_shares(windows: MergedWindows, settings: RuleSettings) -> Iterator[Finding]:
    """Yield a finding for each scope whose bad share and bad count both reach a rule's limits."""
    for rule in share_rules(settings):
        sums = windows.recent if rule.is_slow else windows.short
        for scope, counts in sums.total.items():
            bad = counts.get(rule.bad, 0)
            if scope.kind != rule.scope_kind or bad < rule.minimum:
                continue
            of = max(counts.get(rule.of, 0), bad)
            if rule.is_local or bad >= rule.ratio * of:
                yield from _share_finding(windows, settings, rule, scope, (bad, of))


def _share_finding(
    windows: MergedWindows,
    settings: RuleSettings,
    rule: ShareRule,
    scope: Scope,
    counted: tuple[int, int],
) -> Iterator[Finding]:
    width_us = (2 if rule.is_slow else 1) * windows.settings.short_us
    found = episode(
        windows,
        scope,
        width_us,
        lambda c: c.get(rule.bad, 0),
        lambda c: rule.ratio * c.get(rule.of, 0),
        is_strict=rule.is_local,
    )
    if found is None or (rule.is_local and found.count < rule.minimum):
        return
    bad, of = (found.count, found.counts[rule.of]) if rule.is_local else counted
    assert windows.ended_us is not None
    share = bad / of
    value, threshold, unit = share, rule.ratio, "ratio"
    text = (
        f"{rule.sentence.format(bad=bad, of=of, place=_place(scope))} in the {span_text(width_us)} "
        f"up to {time_text(windows.ended_us)}: {share:.1%}, where {rule.ratio:.1%} is the limit"
    )
    if rule.kind == CLOCK_SKEW:
        value, threshold, unit = found.counts.get("gap_sum_us", 0) / of / 1000, 0.0, "ms"
        text += f"; the mean gap is {value:.0f} ms, where a negative one cannot be"
    yield Finding(
        kind=rule.kind,
        scope=scope,
        severity=rule.severe if share >= settings.severe_ratio else rule.severity,
        since_us=found.since_us,
        last_us=found.last_us,
        count=found.count,
        fresh=found.fresh,
        value=value,
        threshold=threshold,
        unit=unit,
        explanation=text + ".",
        samples=tuple(windows.samples(scope, rule.bad, width_us, settings.max_samples)),
    )


def mispartitioned_modules(windows: MergedWindows, settings: RuleSettings) -> Iterator[Finding]:
    """Yield the modules whose events lie in other partitions than their traces."""
    for scope, counts in windows.short.total.items():
        bad = _misplaced(counts)
        if scope.kind != "module" or bad < max(1, settings.min_mispartitioned):
            continue
        width_us = windows.settings.short_us
        found = episode(windows, scope, width_us, _misplaced, lambda _: 1)
        if found is None:
            continue
        of = max(counts.get("events", 0), bad)
        counter = max((n, name) for name, n in counts.items() if name.startswith(COUNTER_PREFIX))[1]
        assert windows.ended_us is not None
        yield Finding(
            kind=MISPARTITIONED,
            scope=scope,
            severity="CRITICAL" if bad >= settings.severe_ratio * of else "ERROR",
            since_us=found.since_us,
            last_us=found.last_us,
            count=found.count,
            fresh=found.fresh,
            value=float(bad),
            threshold=float(settings.min_mispartitioned),
            unit="events",
            explanation=(
                f"{bad} of {of} events of module {scope.module} in the {span_text(width_us)} up to "
                f"{time_text(windows.ended_us)} lie in other partitions than the rest of their "
                f"traces: of its topic, {Misplaced.from_counter(counter).sentence}."
            ),
            samples=tuple(windows.samples(scope, COUNTER_PREFIX, width_us, settings.max_samples)),
        )


def _misplaced(counts: Counts) -> int:
    return sum(n for name, n in counts.items() if name.startswith(COUNTER_PREFIX))


def _place(scope: Scope) -> str:
    if scope.kind == "edge":
        return f"{scope.from_stage} > {scope.to_stage}"
    return f"module {scope.module}" if scope.kind == "module" else scope.to_stage


def evaluate(
    windows: MergedWindows, topology: Topology, settings: RuleSettings
) -> Iterable[Finding]:
    """Return what the share rules find at the end of the latest window, sorted by fingerprint.

    Nothing is found before the warm-up and one short window have passed since the first window:
    traces cut off by the start of the stream look like losses.
    """
    ready_us = windows.first_us + settings.warm_up_us + windows.settings.short_us
    if windows.ended_us is None or windows.ended_us < ready_us:
        return []
    found = [
        *burning_edges(windows, topology, settings),
        *violated_shares(windows, settings),
        *mispartitioned_modules(windows, settings),
    ]
    return sorted(found, key=lambda finding: finding.fingerprint)
