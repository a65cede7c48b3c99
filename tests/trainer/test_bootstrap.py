from __future__ import annotations

import numpy as np
import pytest

from trainer.bootstrap import bootstrap_interval
from trainer.errors import MetricError


def mean_of(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1])


def counted(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(values.size)], axis=1)


def test_whole_speakers_are_drawn() -> None:
    speakers = ["a", "b", "a", "b", "b"]
    own = np.eye(5)
    seen: list[tuple[int, ...]] = []

    def note(sums: np.ndarray) -> float:
        seen.append(tuple(sums.astype(int).tolist()))
        return 0.0

    bootstrap_interval(note, own, speakers, seed=1, samples=50)

    assert set(seen) == {(2, 0, 2, 0, 0), (0, 2, 0, 2, 2), (1, 1, 1, 1, 1)}


def test_statistics_may_have_any_shape() -> None:
    shapes: set[tuple[int, ...]] = set()

    def note(sums: np.ndarray) -> float:
        shapes.add(sums.shape)
        return 0.0

    bootstrap_interval(note, np.ones((3, 2, 4)), ["a", "b", "c"], seed=0, samples=3)

    assert shapes == {(2, 4)}


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=200)
    speakers = [f"s{i % 20}" for i in range(200)]

    first = bootstrap_interval(mean_of, counted(values), speakers, seed=3)

    assert first == bootstrap_interval(mean_of, counted(values), speakers, seed=3)
    assert first != bootstrap_interval(mean_of, counted(values), speakers, seed=4)
    assert first.low < values.mean() < first.high


def test_a_figure_that_does_not_vary_has_no_width() -> None:
    interval = bootstrap_interval(lambda _: 0.5, np.ones((2, 1)), ["a", "b"], seed=0, samples=20)
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_interval(mean_of, counted(values), [str(i) for i in range(400)], seed=0)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_a_draw_on_which_the_figure_is_not_defined_does_not_count() -> None:
    interval = bootstrap_interval(
        lambda sums: float("nan") if sums[0] == 0 else 1.0, np.array([[0], [1]]), ["a", "b"], seed=0, samples=50
    )
    assert (interval.low, interval.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("speakers", "figure", "message"),
    [
        (["a", "a"], 0.0, "two speakers"),
        (["a", "b", "c"], 0.0, "3 speakers for 2 examples"),
        (["a", "b"], float("nan"), "not defined on any"),
    ],
)
def test_what_gives_no_interval_is_refused(speakers: list[str], figure: float, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        bootstrap_interval(lambda _: figure, np.ones((2, 1)), speakers, seed=0, samples=5)
