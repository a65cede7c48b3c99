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


def drift(x: Sequence[float], y: Sequence[float]) -> Trend | None:
    """The same line, with an interval for points that resemble their neighbours, as figures of a process do.

    As many points as are left when what neighbours tell each other is taken off, (1 - r) / (1 + r) of them for a
    correlation r of each remainder with the next, are what the interval counts on, though never fewer than
    `LEAST_POINTS` (Santer et al. 2000, https://doi.org/10.1029/1999JD901105).

    Args:
        x: where, evenly spaced, rising.
        y: what was found there, as many.

    Returns:
        None where `trend` has none.

    Raises:
        ValueError: `x` and `y` differ in number.
    """
    plain = trend(x, y)
    if plain is None:
        return None
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rest = up - up.mean() - plain.slope * (across - across.mean())
    whole = float(np.square(rest).sum())
    alike = max(0.0, float((rest[1:] * rest[:-1]).sum()) / whole) if whole > 0.0 else 0.0
    counted = max(float(LEAST_POINTS), len(x) * (1 - alike) / (1 + alike))
    narrow = student_quantile(len(x) - 2) / np.sqrt(len(x) - 2)
    wide = student_quantile(counted - 2) / np.sqrt(counted - 2)
    reach = (plain.high - plain.slope) * float(wide / narrow)
    return Trend(plain.slope, plain.slope - reach, plain.slope + reach)


def block_means(x: Sequence[float], y: Sequence[float], width: float) -> tuple[list[float], list[float]]:
    """The middle of each stretch of `width` that holds points, and their mean.

    Args:
        x: where.
        y: what was found there, as many.
        width: of a stretch; the first begins at 0.

    Raises:
        ValueError: `x` and `y` differ in number, or `width` is not above 0.
    """
    if width <= 0:
        raise ValueError(f"a stretch must be longer than nothing, got {width}")
    blocks: dict[int, list[float]] = {}
    for place, value in zip(x, y, strict=True):
        blocks.setdefault(int(place // width), []).append(value)
    numbers = sorted(blocks)
    return [(number + 0.5) * width for number in numbers], [sum(blocks[n]) / len(blocks[n]) for n in numbers]


def student_quantile(freedom: float) -> float:
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
