"""Calibration: confidence that means what it says, and claiming nothing when it is low."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.calibration import fit_abstention, fit_temperature, negative_log_likelihood
from models.errors import FeatureError

Array = NDArray[np.float64]


def overconfident(sharpness: float, examples: int = 4000) -> tuple[Array, Array]:
    """Logits `sharpness` times as large as those the labels were drawn from."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(examples, 4)) * 1.5
    probabilities = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (rng.random((examples, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return true * sharpness, np.eye(4)[labels]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_over_and_underconfidence(sharpness: float) -> None:
    assert fit_temperature(*overconfident(sharpness)) == pytest.approx(sharpness, rel=0.1)


def test_soft_targets_that_the_model_meets_exactly_need_no_temperature() -> None:
    logits, _ = overconfident(1.0)
    targets = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert fit_temperature(logits, targets) == pytest.approx(1.0, abs=1e-4)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_calibrating_never_raises_the_likelihood_loss(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(40, 5)) * scale, rng.dirichlet(np.ones(5), size=40)
    before = negative_log_likelihood(logits, targets, 1.0)
    assert negative_log_likelihood(logits, targets, fit_temperature(logits, targets)) <= before + 1e-9


def test_the_loss_is_the_cross_entropy_and_survives_huge_logits() -> None:
    assert negative_log_likelihood(np.zeros((2, 4)), np.eye(4)[:2], 1.0) == pytest.approx(np.log(4))
    assert negative_log_likelihood(np.array([[1e6, 0.0]]), np.array([[0.0, 1.0]]), 1.0) == pytest.approx(1e6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0, 1))
def test_at_least_the_wanted_share_keeps_its_label(confidences: list[float], coverage: float) -> None:
    confidence = np.array(confidences)
    kept = np.count_nonzero(confidence >= fit_abstention(confidence, coverage))
    assert kept >= int(np.floor(coverage * len(confidence)))


def test_abstention_drops_the_least_confident_and_no_more_than_asked() -> None:
    confidence = np.linspace(0.2, 1.0, 101)
    kept = confidence >= fit_abstention(confidence, coverage=0.8)
    assert kept.mean() == pytest.approx(0.8, abs=0.011)
    assert confidence[kept].min() > confidence[~kept].max()


@pytest.mark.parametrize(("logits", "targets"), [((0, 3), (0, 3)), ((2, 3), (2, 4)), ((3,), (3,))])
def test_examples_that_do_not_pair_up_are_refused(logits: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(FeatureError, match="logits and targets of one shape"):
        fit_temperature(np.zeros(logits), np.zeros(targets))


@pytest.mark.parametrize(("examples", "coverage"), [(0, 0.9), (3, 1.2), (3, float("nan"))])
def test_abstention_needs_examples_and_a_share(examples: int, coverage: float) -> None:
    with pytest.raises(FeatureError, match="coverage of 0 to 1"):
        fit_abstention(np.zeros(examples), coverage)
