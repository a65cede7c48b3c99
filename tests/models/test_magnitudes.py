"""Magnitudes counted as they come, held to those that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.magnitudes import Magnitudes


@given(
    seed=st.integers(0, 2**32 - 1),
    parts=st.lists(st.integers(0, 400), min_size=1, max_size=5),
    spread=st.floats(1e-20, 1e20),
    share=st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_a_share_stays_below_what_is_told_to_a_hundredth(
    seed: int, parts: list[int], spread: float, share: float
) -> None:
    chance = np.random.default_rng(seed)
    numbers = [(chance.standard_t(2, size=(size, 2)) * spread).astype(np.float32) for size in parts]
    counted = Magnitudes()
    for part in numbers:
        counted.add(part)

    found = counted.below(share)

    ordered = np.sort(np.abs(np.concatenate(numbers)), axis=None).astype(np.float64)
    if not ordered.size:
        assert found == 0
        return
    exact = ordered[ordered.size - 1 - int((1 - share) * ordered.size)]
    assert exact <= found <= exact * 1.01
    assert found <= ordered[-1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_noticed(wrong: float) -> None:
    counted = Magnitudes()
    counted.add(np.ones(3, np.float32))
    assert counted.finite
    counted.add(np.array([1.0, wrong], np.float32))
    assert not counted.finite


def test_of_nothing_nothing_is_told() -> None:
    assert Magnitudes().below(0.9999) == 0
