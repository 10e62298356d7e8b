"""From where on a rule speaks: thresholds, minimum counts and the times of hysteresis."""

from dataclasses import dataclass

from streams.errors import ConfigError
from streams.units import HOUR_US, MINUTE_US


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Thresholds of all alert rules.

    The short and long burn windows are those of `MergeSettings`. Every ratio rule needs a minimum
    count besides: in a small window one bad record is a large share.

    Attributes:
        burn_rate: an edge burns when both windows use the error budget this much too fast.
        min_missing, min_expected: records lost, and records that had to cross, in the short window.
        error_ratio, min_errors: share and number of ERROR spans of a stage.
        deadline_ratio, min_deadline_missed: share and number of a stage's missed deadlines.
        duplicate_ratio, min_duplicates: share and number of a module's events that came before.
        skew_ratio, min_gaps: share of records that reach the far stage before they left the near
            one, and how many gaps must have been measured.
        restarted_ratio, min_restarted: share and number of records that go on under a new trace.
        min_mispartitioned: number of a module's events that lie in other partitions than their
            traces; the keys were examined before they were counted, so a few suffice.
        severe_ratio: a share from which on a ratio rule is one severity worse.
        silent_us: how long a module may be without events.
        min_silent_events: how many events a module would have sent in its silence at its own rate.
        silent_gap_factor: a silence must be this many times the longest normal gap.
        active_ratio: another module goes on when it sends at least this share of its own rate.
        forget_us: a module silent for so long is no longer expected; an alert resolved for so long
            is forgotten.
        quiet_us: an alert is resolved when it was not violated for so long.
        warm_up_us: after the first window ever, this and the short window pass before rules speak.
        max_alerts: bound on the alerts known at a time.
        max_modules: bound on the modules whose activity is followed.
        max_samples: bound on the ids an alert carries.
    """

    burn_rate: float = 14.4
    min_missing: int = 5
    min_expected: int = 20
    error_ratio: float = 0.05
    min_errors: int = 10
    deadline_ratio: float = 0.05
    min_deadline_missed: int = 10
    duplicate_ratio: float = 0.05
    min_duplicates: int = 20
    skew_ratio: float = 0.5
    min_gaps: int = 20
    restarted_ratio: float = 0.01
    min_restarted: int = 5
    min_mispartitioned: int = 5
    severe_ratio: float = 0.5
    silent_us: int = MINUTE_US
    min_silent_events: int = 10
    silent_gap_factor: int = 3
    active_ratio: float = 0.5
    forget_us: int = 24 * HOUR_US
    quiet_us: int = 2 * MINUTE_US
    warm_up_us: int = MINUTE_US
    max_alerts: int = 10_000
    max_modules: int = 1_000
    max_samples: int = 20

    def __post_init__(self) -> None:
        for name in ("silent_us", "forget_us", "quiet_us", "max_alerts", "max_samples"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} {getattr(self, name)}: must be positive")
        for name in ("error_ratio", "deadline_ratio", "duplicate_ratio", "skew_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}: must lie above 0 and up to 1")
