"""Confidence intervals of shares and means: Wilson, Clopper-Pearson, and the mean of frames that come in subjects."""

import numpy as np
from scipy import stats

Interval = tuple[float, float]


def wilson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a share of n independent trials (Wilson 1927), within 0 and 1; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1 + level) / 2))
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The algebra is exact at the ends, rounding is not.
    low = 0.0 if hits == 0 else middle - spread
    return float(low), float(1.0 if hits == n else middle + spread)


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> Interval:
    """Interval of a share that covers the truth at least `level` of the time for every truth and n (Clopper and Pearson
    1934). hits and n may be fractions: an effective sample size (Korn and Graubard 1998). (0, 1) for n = 0.
    """
    if n <= 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits >= n else float(stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def clustered_mean(values: np.ndarray, clusters: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of values (N,) that come in clusters (N,): frames of one subject are alike and do not count as
    independent. The ratio estimator's linearised variance over clusters, with Student's t of clusters − 1 degrees.

    Raises ValueError for fewer than two clusters: their spread is then unknown.
    """
    _, place = np.unique(clusters, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"{count} cluster; the spread over clusters needs two")
    mean = float(np.mean(values))
    off = np.bincount(place, values, count) - mean * np.bincount(place, minlength=count)
    error = np.sqrt(count / (count - 1) * np.sum(off**2)) / len(values)
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * error)
    return mean, mean - reach, mean + reach
