"""Labels as data, and scores that know what they mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.emotions import MSP8, Attributes, EmotionScores, LabelSet, soft_target
from models.errors import FeatureError

SEVEN = MSP8.without("contempt")


def test_the_eight_classes_stand_in_the_papers_order() -> None:
    assert tuple(MSP8) == ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")


def test_leaving_a_class_out_keeps_the_order_of_the_others() -> None:
    assert tuple(SEVEN) == ("angry", "sad", "happy", "surprise", "fear", "disgust", "neutral")
    assert len(SEVEN) == 7
    assert SEVEN.index("neutral") == 6


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "at least one label"), (("sad", "sad"), "labels repeat"), (("sad", "bored"), r"unknown labels \['bored'\]")],
)
def test_a_set_that_cannot_be_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        LabelSet(names)


def test_a_label_that_is_not_in_the_set_has_no_position() -> None:
    with pytest.raises(FeatureError, match="label 'contempt' is not one of angry, sad"):
        SEVEN.index("contempt")


@given(st.lists(st.integers(0, 9), min_size=7, max_size=7).filter(any))
def test_votes_become_their_shares(votes: list[int]) -> None:
    target = soft_target(votes, SEVEN)
    np.testing.assert_allclose(target, np.array(votes) / sum(votes), rtol=1e-6)


@pytest.mark.parametrize(
    ("votes", "message"),
    [([1, 2], "2 votes for 7 labels"), ([0] * 7, "no annotator"), ([-1] + [1] * 6, "not negative"),
     ([float("nan")] + [1] * 6, "must be finite")],
)  # fmt: skip
def test_votes_that_are_none_are_refused(votes: list[float], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        soft_target(votes, SEVEN)


@pytest.mark.parametrize("abstained", [False, True])
def test_scores_claim_the_most_probable_label_unless_they_abstain(abstained: bool) -> None:
    probabilities = np.array([0.1, 0.2, 0.55555, 0.05, 0.04445, 0.03, 0.02], dtype=np.float32)
    scores = EmotionScores(SEVEN, probabilities, Attributes(4.0, 5.0, 4.5), abstained)
    assert scores.best == "happy"
    assert scores.label == (None if abstained else "happy")
    assert scores.confidence == pytest.approx(0.55555)
    assert scores.as_mapping(3) == {
        "angry": 0.1, "sad": 0.2, "happy": 0.556, "surprise": 0.05, "fear": 0.044, "disgust": 0.03, "neutral": 0.02,
    }  # fmt: skip
