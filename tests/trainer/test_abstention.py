from __future__ import annotations

import numpy as np
import pytest

from trainer.abstention import abstention
from trainer.errors import MetricError

CONFIDENCE = np.array([0.9, 0.5, 0.7, 0.3])
CORRECT = np.array([True, False, True, False])


def test_a_label_is_claimed_from_the_threshold_on() -> None:
    held = abstention(CONFIDENCE, CORRECT, np.full(4, 0.5))
    assert held.coverage == 0.75
    assert held.accuracy == pytest.approx(2 / 3)
    assert held.accuracy_of_all == 0.5
    assert held.gain == pytest.approx(1 / 6)


def test_each_example_keeps_to_the_threshold_of_the_ensemble_that_scored_it() -> None:
    held = abstention(CONFIDENCE, CORRECT, np.array([0.95, 0.4, 0.6, 0.2]))
    assert held.coverage == 0.75
    assert held.accuracy == pytest.approx(1 / 3)
    assert (held.lowest_threshold, held.highest_threshold) == (0.2, 0.95)


def test_where_nothing_is_claimed_there_is_no_accuracy_and_no_gain() -> None:
    held = abstention(CONFIDENCE, CORRECT, np.ones(4), speakers=["a", "b", "c", "d"])
    assert (held.coverage, held.accuracy, held.gain, held.gain_interval) == (0.0, None, None, None)
    assert held.as_mapping()["gain"] is None


def test_the_gain_has_an_interval_over_speakers() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 400)
    correct = rng.uniform(0, 1, 400) < confidence
    held = abstention(confidence, correct, np.full(400, 0.5), speakers=[f"s{i % 20}" for i in range(400)])
    assert held.gain is not None
    assert held.gain_interval is not None
    assert 0 < held.gain_interval.low < held.gain < held.gain_interval.high
    written = held.as_mapping()
    assert written["gain"] == pytest.approx(held.gain, abs=1e-4)
    assert written["gain_low"] < written["gain"] < written["gain_high"]


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(MetricError, match="rows of one length"):
        abstention(CONFIDENCE, CORRECT, np.ones(3))
    with pytest.raises(MetricError, match="rows of one length"):
        abstention(CONFIDENCE[:0], CORRECT[:0], CONFIDENCE[:0])
