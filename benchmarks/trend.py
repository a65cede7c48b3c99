"""Whether a figure drifts: the slope of a straight line through it, and how sure that slope is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

LEAST_POINTS: Final = 5
"""Below as many a slope has no interval worth printing."""

_TWO_SIDED: Final = 0.975
"""Of the distribution, for an interval that holds 95 %."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope and its 95 % confidence interval, in units of y for one unit of x."""

    slope: float
    low: float
    high: float


def trend(x: Sequence[float], y: Sequence[float]) -> Trend | None:
    """The straight line through points by least squares.

    Points that follow each other closely resemble each other, which the interval does not know: it is rather too
    narrow than too wide.

    Args:
        x: where.
        y: what was found there, as many.

    Returns:
        None for fewer than `LEAST_POINTS`, or where all of them have one x.

    Raises:
        ValueError: `x` and `y` differ in number.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} places and {len(y)} values do not belong together")
    if len(x) < LEAST_POINTS:
        return None
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    across = across - across.mean()
    spread = float(np.square(across).sum())
    if spread == 0.0:
        return None
    slope = float((across * up).sum()) / spread
    freedom = len(x) - 2
    rest = up - up.mean() - slope * across
    error = float(np.sqrt(np.square(rest).sum() / freedom / spread))
    reach = student_quantile(freedom) * error
    return Trend(slope, slope - reach, slope + reach)


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, from 3 degrees of freedom on within 0.2 % (Abramowitz and Stegun, 26.7.5).

    Raises:
        ValueError: fewer than 3 degrees of freedom.
    """
    if freedom < LEAST_POINTS - 2:
        raise ValueError(f"the expansion holds from {LEAST_POINTS - 2} degrees of freedom on, got {freedom}")
    z = NormalDist().inv_cdf(_TWO_SIDED)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, start=1)))
