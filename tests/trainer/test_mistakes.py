from __future__ import annotations

import numpy as np
import pytest

from models.emotions import LabelSet
from trainer.errors import MetricError
from trainer.mistakes import most_confident_mistakes

LABELS = LabelSet(("angry", "sad"))
IDS = ["c/right", "c/unsure", "c/sure", "c/b", "c/a"]
SPEAKERS = ["s1", "s1", "s2", "s3", "s4"]
TRUE = np.array([0, 1, 1, 0, 0])
PROBABILITIES = np.array([[0.99, 0.01], [0.6, 0.4], [0.95, 0.05], [0.3, 0.7], [0.3, 0.7]])
TEXTS = {"c/sure": "I am fine.", "c/right": "Go away."}


def test_the_most_confident_stands_first_and_equal_ones_stand_by_id() -> None:
    found = most_confident_mistakes(IDS, SPEAKERS, TRUE, PROBABILITIES, LABELS)
    assert [mistake.id for mistake in found] == ["c/sure", "c/a", "c/b", "c/unsure"]
    first = found[0]
    assert (first.speaker, first.true, first.predicted, first.confidence) == ("s2", "sad", "angry", 0.95)


def test_only_so_many_are_listed() -> None:
    assert len(most_confident_mistakes(IDS, SPEAKERS, TRUE, PROBABILITIES, LABELS, most=2)) == 2


def test_what_was_said_stands_in_it_only_where_it_was_given() -> None:
    silent = most_confident_mistakes(IDS, SPEAKERS, TRUE, PROBABILITIES, LABELS)
    quoted = most_confident_mistakes(IDS, SPEAKERS, TRUE, PROBABILITIES, LABELS, texts=TEXTS)
    assert all("text" not in mistake.as_mapping() for mistake in silent)
    assert quoted[0].as_mapping()["text"] == "I am fine."
    assert quoted[1].text is None


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(MetricError, match="4 ids, 5 speakers, 5 truths and 5 predictions"):
        most_confident_mistakes(IDS[:4], SPEAKERS, TRUE, PROBABILITIES, LABELS)
