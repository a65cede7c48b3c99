from __future__ import annotations

import numpy as np
import pytest

from models.emotions import LabelSet
from trainer.breakdown import PartScores, by_duration, by_speaker
from trainer.errors import MetricError

LABELS = LabelSet(("angry", "sad", "neutral"))
TRUE = np.array([0, 1, 0, 1, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 0])


def test_speakers_stand_in_the_order_of_their_macro_f1_the_worst_first() -> None:
    parts = by_speaker(TRUE, PREDICTED, LABELS, ["good", "good", "middling", "middling", "bad", "bad"])
    assert parts == (
        PartScores("middling", 2, 2, pytest.approx(1 / 3), 0.5),
        PartScores("bad", 2, 1, pytest.approx(2 / 3), 0.5),
        PartScores("good", 2, 2, 1.0, 1.0),
    )


def test_durations_are_ranges_that_begin_with_their_lower_edge() -> None:
    parts = by_duration(TRUE, PREDICTED, LABELS, np.array([0.99, 1.0, 2.5, 2.0, 5.0, 3.0]))
    assert [(part.name, part.examples) for part in parts] == [
        ("under 1 s", 1),
        ("1 to 2 s", 1),
        ("2 to 3 s", 2),
        ("3 to 5 s", 1),
        ("over 5 s", 1),
    ]
    assert [part.accuracy for part in parts] == [1.0, 1.0, 0.5, 0.0, 1.0]
    assert parts[2].macro_f1 == pytest.approx(1 / 3)


def test_an_empty_range_is_shown_without_figures() -> None:
    (under, *_) = by_duration(TRUE, PREDICTED, LABELS, np.full(6, 1.5))
    assert under == PartScores("under 1 s", 0, 0, None, None)
    assert under.as_mapping() == {"name": "under 1 s", "examples": 0, "classes": 0, "macro_f1": None, "accuracy": None}


def test_what_is_not_spoken_has_no_duration() -> None:
    seconds = np.array([1.5, np.nan, np.nan, np.nan, np.nan, 1.5])
    assert sum(part.examples for part in by_duration(TRUE, PREDICTED, LABELS, seconds)) == 2
    assert by_duration(TRUE, PREDICTED, LABELS, np.full(6, np.nan)) == ()


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(MetricError, match="2 speakers for 6 examples"):
        by_speaker(TRUE, PREDICTED, LABELS, ["a", "b"])
    with pytest.raises(MetricError, match="2 durations for 6 examples"):
        by_duration(TRUE, PREDICTED, LABELS, np.ones(2))
