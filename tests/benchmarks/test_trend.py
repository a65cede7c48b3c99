"""The slope of a figure over time, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.trend import student_quantile, trend


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
