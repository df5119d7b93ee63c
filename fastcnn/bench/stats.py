"""The few statistics of the benchmarks: medians, quartiles, and a bootstrap interval for the median ratio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """(first quartile, median, third quartile)."""
    low, middle, high = np.percentile(np.asarray(samples, float), (25, 50, 75))
    return float(low), float(middle), float(high)


def median(samples: Sequence[float]) -> float:
    """The middle of the sorted samples."""
    return quartiles(samples)[1]


def interval(samples: Sequence[float], level: float = 0.95, draws: int = 2000) -> tuple[float, float]:
    """Bootstrap interval (percentile method; Efron 1979) of the median; the same samples give the same interval."""
    values = np.asarray(samples, float)
    rng = np.random.Generator(np.random.PCG64(0))
    medians = np.median(values[rng.integers(0, len(values), (draws, len(values)))], axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(medians, (tail, 1 - tail))
    return float(low), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean(log)); NaN for none."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else float("nan")
