"""How sure we may be of a figure: a percentile bootstrap that draws whole speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.errors import MetricError

BOOTSTRAP_SAMPLES: Final = 1000
CONFIDENCE_LEVEL: Final = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds within which a figure lies with `level` confidence."""

    low: float
    high: float
    level: float = CONFIDENCE_LEVEL


def bootstrap_interval(
    metric: Callable[[Floats], float],
    statistics: NDArray[np.number],
    groups: Sequence[str],
    *,
    seed: int,
    samples: int = BOOTSTRAP_SAMPLES,
    level: float = CONFIDENCE_LEVEL,
) -> Interval:
    """Percentile bootstrap that draws whole groups, since clips of one speaker are not independent (Efron 1979).

    A draw costs as much as there are speakers, not as there are examples: a figure is computed from sums over examples,
    and those are taken once for each speaker. Of two calls with the same groups and seed, the draws are the same.

    Args:
        metric: a figure from the statistics summed over the examples drawn, `[...]`; NaN where it is not defined on a
            draw, which then does not count.
        statistics: what each example adds, `[examples, ...]`, such as its cell of the confusion matrix.
        groups: the speaker of each example.
        seed: of the draws.
        samples: how many draws.
        level: share of the draws between the bounds.

    Raises:
        MetricError: fewer than two groups, so nothing varies; groups of another number than examples; or a figure that
            is defined on no draw.
    """
    if len(groups) != statistics.shape[0]:
        raise MetricError(f"{len(groups)} speakers for {statistics.shape[0]} examples")
    names, membership = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    if names.size < 2:
        raise MetricError(f"an interval needs at least two speakers to draw from, got {names.size}")
    shape = statistics.shape[1:]
    sums = np.zeros((names.size, int(np.prod(shape))))
    np.add.at(sums, membership, statistics.reshape(statistics.shape[0], -1))
    rng = np.random.default_rng(seed)
    drawn = np.empty(samples)
    for sample in range(samples):
        often = np.bincount(rng.integers(names.size, size=names.size), minlength=names.size)
        drawn[sample] = metric((often @ sums).reshape(shape))
    defined = drawn[np.isfinite(drawn)]
    if not defined.size:
        raise MetricError("the figure is not defined on any of the draws")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
