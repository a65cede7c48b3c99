"""Norms of emotion words, where nobody rated attributes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.emotions import MSP8, LabelSet
from trainer.attribute_norms import NORMS, attributes_of


def certain(label: str) -> np.ndarray:
    return np.eye(len(MSP8), dtype=np.float32)[MSP8.index(label)]


def test_one_class_has_the_norm_of_its_word_on_the_scale_of_1_to_7() -> None:
    # Angry: arousal 0.59, pleasure -0.51, dominance 0.25 on -1 to 1; the scale's middle is 4, its reach 3.
    np.testing.assert_allclose(attributes_of(certain("angry"), MSP8), [5.77, 2.47, 4.75], rtol=1e-6)


def test_neutral_is_the_middle() -> None:
    np.testing.assert_array_equal(attributes_of(certain("neutral"), MSP8), [4, 4, 4])


def test_a_soft_target_has_the_mean_of_its_classes_norms() -> None:
    mixed = 0.25 * certain("sad") + 0.75 * certain("happy")
    one, other = attributes_of(certain("sad"), MSP8), attributes_of(certain("happy"), MSP8)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(attributes_of(mixed, MSP8), 0.25 * one + 0.75 * other, rtol=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.01])
def test_a_class_without_a_norm_leaves_the_attributes_unknown(share: float) -> None:
    target = share * certain("contempt") + (1 - share) * certain("angry")
    assert attributes_of(target.astype(np.float32), MSP8) is None


def test_positions_are_those_of_the_labels_given() -> None:
    labels = LabelSet(("neutral", "sad"))
    np.testing.assert_allclose(attributes_of(np.array([0, 1], np.float32), labels), attributes_of(certain("sad"), MSP8))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=len(NORMS), max_size=len(NORMS)).filter(lambda v: sum(v) > 0.01))
def test_they_never_leave_the_scale(weights: list[float]) -> None:
    labels = LabelSet(tuple(name for name in MSP8 if name in NORMS))
    found = attributes_of(np.array(weights, np.float32) / np.float32(sum(weights)), labels)
    assert found is not None
    assert ((found >= 1) & (found <= 7)).all()


def test_every_norm_lies_within_its_own_scale() -> None:
    assert all(-1 <= value <= 1 for norm in NORMS.values() for value in norm)
