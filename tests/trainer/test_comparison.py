from __future__ import annotations

import numpy as np
import pytest

from models.emotions import LabelSet
from trainer.comparison import paired_difference
from trainer.errors import MetricError
from trainer.metrics import macro_f1

LABELS = LabelSet(("angry", "sad"))


def predictions(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Truth; a guess that is mostly right; one that is a little worse on the very same examples; speakers."""
    rng = np.random.default_rng(seed)
    true = rng.integers(2, size=300)
    easy = rng.uniform(size=300)
    better = np.where(easy < 0.8, true, 1 - true)
    worse = np.where(easy < 0.76, true, 1 - true)
    return true, better, worse, [f"s{i % 15}" for i in range(300)]


def test_it_is_macro_f1_less_that_of_the_reference() -> None:
    true, better, worse, speakers = predictions()
    found = paired_difference("telephone", true, better, worse, LABELS, speakers)
    assert found.value == pytest.approx(macro_f1(true, worse, 2) - macro_f1(true, better, 2))
    assert found.value < 0
    assert found.loss == -found.value
    assert found.interval is not None
    assert found.loss_interval is not None
    assert (found.loss_interval.low, found.loss_interval.high) == (-found.interval.high, -found.interval.low)
    written = found.as_mapping()
    assert (written["name"], written["examples"]) == ("telephone", 300)
    assert written["difference_low"] <= written["difference"] <= written["difference_high"]


def test_both_are_drawn_with_the_same_speakers_so_that_a_small_difference_shows() -> None:
    true, better, worse, speakers = predictions()
    found = paired_difference("m", true, better, worse, LABELS, speakers).interval
    assert found is not None
    # Unpaired, the bounds of two macro-F1 near 0.8 over 15 speakers would lie some ten points apart.
    assert found.high < 0
    assert found.high - found.low < 0.06


def test_the_same_prediction_differs_by_nothing() -> None:
    true, better, _, speakers = predictions()
    found = paired_difference("m", true, better, better, LABELS, speakers)
    assert found.interval is not None
    assert (found.value, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)


def test_one_speaker_gives_no_interval() -> None:
    true, better, worse, _ = predictions()
    found = paired_difference("m", true, better, worse, LABELS, ["s"] * 300)
    assert found.interval is None
    assert found.loss_interval is None
    assert found.as_mapping()["difference_low"] is None


@pytest.mark.parametrize(("count", "speakers"), [(2, 3), (3, 2), (0, 0)])
def test_what_is_not_the_same_examples_twice_is_refused(count: int, speakers: int) -> None:
    three = np.zeros(3 if count else 0, dtype=np.int64)
    with pytest.raises(MetricError, match="m: a comparison needs the same examples twice"):
        paired_difference("m", three, three, np.zeros(count, dtype=np.int64), LABELS, ["s"] * speakers)
