"""The slope of a figure over time, and its interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.trend import Trend, block_means, drift, student_quantile, trend


@pytest.mark.parametrize(
    ("freedom", "known"), [(3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)]
)
def test_the_quantile_is_that_of_the_tables(freedom: int, known: float) -> None:
    assert student_quantile(freedom) == pytest.approx(known, rel=2e-3)


def test_a_line_has_its_slope_and_no_doubt() -> None:
    found = trend([0, 1, 2, 3, 4], [10, 13, 16, 19, 22])

    assert found is not None
    assert (found.slope, found.low, found.high) == pytest.approx((3, 3, 3))


def test_the_interval_is_the_one_of_the_textbook() -> None:
    found = trend([1, 2, 3, 4, 5], [2, 4, 5, 4, 5])

    # Slope 0.6, standard error sqrt(0.8 / 10), t = 3.1824 at three degrees of freedom.
    assert found is not None
    assert found.slope == pytest.approx(0.6)
    assert (found.high - found.low) / 2 == pytest.approx(3.1824 * np.sqrt(0.08), rel=2e-3)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0, 2, 30)

    found = [trend(x.tolist(), (5 * x + rng.normal(size=30)).tolist()) for _ in range(400)]

    held = np.mean([one is not None and one.low <= 5 <= one.high for one in found])
    assert 0.92 <= held <= 0.98


@pytest.mark.parametrize("x", [[], [1, 2, 3, 4], [2, 2, 2, 2, 2]])
def test_too_little_has_no_slope(x: list[float]) -> None:
    assert trend(x, x) is None


def test_places_and_values_must_belong_together() -> None:
    with pytest.raises(ValueError, match="3 places and 2 values"):
        trend([1, 2, 3], [1, 2])


def test_points_that_follow_each_other_closely_leave_more_doubt() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0, 30, 60).tolist()

    def missed(find: Callable[[list[float], list[float]], Trend | None], share: float) -> float:
        """How often a slope is claimed where there is none, for noise that keeps a share of itself."""
        claimed = 0
        for _ in range(200):
            noise = [0.0]
            for _ in range(59):
                noise.append(share * noise[-1] + float(rng.normal()))
            found = find(x, noise)
            claimed += found is not None and not found.low <= 0 <= found.high
        return claimed / 200

    assert missed(trend, 0.8) > 0.3
    assert missed(drift, 0.8) < 0.15
    assert missed(drift, 0.0) < 0.09


def test_a_drift_of_points_that_know_nothing_of_each_other_is_that_of_the_line() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]

    found, plain = drift(x, y), trend(x, y)

    assert found is not None
    assert plain is not None
    assert (found.slope, found.low, found.high) == pytest.approx((plain.slope, plain.low, plain.high))


def test_a_drift_is_found_where_there_is_one() -> None:
    rng = np.random.default_rng(3)
    x = np.linspace(0, 30, 60)

    found = drift(x.tolist(), (0.5 * x + rng.normal(size=60)).tolist())

    assert found is not None
    assert 0 < found.low < 0.5 < found.high


def test_points_of_a_stretch_become_their_mean_in_its_middle() -> None:
    assert block_means([0.0, 10.0, 29.9, 30.0, 95.0], [1.0, 2.0, 3.0, 7.0, 9.0], 30.0) == ([15, 45, 105], [2, 7, 9])


def test_a_stretch_has_a_length() -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        block_means([1.0], [1.0], 0.0)
