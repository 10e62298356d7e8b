"""Small tests behind the evidence: how unusual is a share, or a mean, against a baseline.

Scores are in standard deviations, with a sign. Owns the overdispersion correction: visits of one
trace, and traces of one minute, are not independent, and a baseline that swings from minute to
minute must not take each swing for news.
"""

from math import log, sqrt
from typing import Final

_SMOOTH: Final = 0.5
VARIANCE_MIN: Final = 0.1
"""Of log2 times: a spread of a quarter is nothing to speak of, however few visits showed less."""
DRIFT_VARIANCE: Final = 0.1
"""Of the mean of log2 times: windows drift by about a quarter, however many visits they have."""
VISITS_MAX: Final = 200.0
"""Of shares: what more visits than this would tell is lost in the drift of the mix of requests."""


def share_score(k: float, n: float, base_k: float, base_n: float, dispersion: float = 1.0) -> float:
    """Return the signed root of the G statistic of two shares, over the root of the dispersion.

    `k` of `n` visits hit now, `base_k` of `base_n` in the baseline (0 <= k <= n); `dispersion` is
    how much more the baseline's windows scatter than binomial ones, >= 1.

    Returns:
        Positive when the share rose, negative when it fell; 0 when either side is empty.

    Source: R. Sokal, F. Rohlf, "Biometry", G test of independence with Williams-like smoothing.
    """
    if n <= 0 or base_n <= 0:
        return 0.0
    k, n = k * min(1.0, VISITS_MAX / n), min(n, VISITS_MAX)
    pooled = (k + base_k + _SMOOTH) / (n + base_n + 2 * _SMOOTH)
    g = (
        _term(k, n * pooled)
        + _term(n - k, n * (1 - pooled))
        + _term(base_k, base_n * pooled)
        + _term(base_n - base_k, base_n * (1 - pooled))
    )
    sign = 1.0 if k / n >= base_k / base_n else -1.0
    return sign * sqrt(max(0.0, 2 * g) / max(1.0, dispersion))


def share_residual(k: float, n: float, base_k: float, base_n: float) -> float:
    """Return one window's squared deviation from the baseline's share, in binomial variances."""
    if n <= 0 or base_n <= 0:
        return 0.0
    share = (base_k + _SMOOTH) / (base_n + 2 * _SMOOTH)
    variance = n * share * (1 - share) + n**2 * share * (1 - share) / (base_n + 1)
    return (k - n * share) ** 2 / (variance + _SMOOTH**2)


def mean_score(
    mean: float, n: float, base_mean: float, base_variance: float, base_n: float, dispersion: float
) -> float:
    """Return how many standard errors a mean lies above the baseline's (negative: below)."""
    if n <= 0 or base_n <= 0:
        return 0.0
    variance = (base_variance + VARIANCE_MIN) * (1 / n + 1 / base_n) * max(
        1.0, dispersion
    ) + DRIFT_VARIANCE
    return (mean - base_mean) / sqrt(variance)


def _term(observed: float, expected: float) -> float:
    return observed * log(observed / expected) if observed > 0 and expected > 0 else 0.0
