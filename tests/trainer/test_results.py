from __future__ import annotations

import numpy as np
import pytest

from models.emotions import LabelSet
from models.errors import FeatureError
from trainer.errors import MetricError
from trainer.results import Result, restrict, score

LABELS = LabelSet(("angry", "sad", "neutral"))
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
TRUE = np.array([0, 1, 1, 2])
SPEAKERS = ["a", "a", "b", "c"]


def scored(name: str = "ensemble") -> Result:
    rated = np.array([[1.0, 2, 3], [2, 3, 4], [3, 4, 5], [np.nan, np.nan, np.nan]])
    predicted = np.array([[1.0, 3, 3], [2, 4, 3], [3, 5, 3], [7, 7, 7]])
    return score(name, PROBABILITIES, TRUE, LABELS, speakers=SPEAKERS, attributes=(rated, predicted))


class TestScore:
    def test_everything_is_measured_on_the_strongest_class(self) -> None:
        result = scored()
        assert result.examples == 4
        assert result.accuracy == 0.75
        np.testing.assert_array_equal(result.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
        assert result.classes.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
        assert result.macro_f1_interval is not None
        assert result.macro_f1_interval.low <= result.classes.macro_f1 <= result.macro_f1_interval.high

    def test_attributes_are_measured_where_they_were_rated(self) -> None:
        measured = scored().concordance
        assert measured["arousal"] == pytest.approx(1.0)
        assert measured["valence"] == pytest.approx((4 / 3) / (7 / 3))
        assert measured["dominance"] == 0.0

    def test_without_speakers_or_ratings_there_is_no_interval_and_no_concordance(self) -> None:
        unrated = np.full((4, 3), np.nan)
        result = score("m", PROBABILITIES, TRUE, LABELS, attributes=(unrated, np.ones((4, 3))))
        assert result.macro_f1_interval is None
        assert result.ece_interval is None
        assert result.concordance == {}
        assert score("m", PROBABILITIES, TRUE, LABELS, speakers=["a"] * 4).macro_f1_interval is None

    def test_calibration_error_has_an_interval_over_speakers(self) -> None:
        rng = np.random.default_rng(0)
        confidence = rng.uniform(0.5, 1, 500)
        probabilities = np.stack([confidence, 1 - confidence, np.zeros(500)], axis=1)
        true = (rng.uniform(size=500) > confidence - 0.2).astype(np.int64)
        result = score("m", probabilities, true, LABELS, speakers=[f"s{i % 25}" for i in range(500)])
        assert result.ece_interval is not None
        assert 0.1 < result.ece_interval.low < result.reliability.expected_calibration_error
        assert result.reliability.expected_calibration_error < result.ece_interval.high < 0.3
        written = result.as_mapping()
        assert written["ece_low"] < written["ece"] < written["ece_high"]

    def test_abstention_is_measured_where_the_model_has_a_threshold(self) -> None:
        held = score("m", PROBABILITIES, TRUE, LABELS, abstain_below=np.full(4, 0.65)).abstention
        assert held is not None
        assert (held.coverage, held.accuracy, held.accuracy_of_all) == (0.75, 1.0, 0.75)
        assert scored().abstention is None
        assert scored().as_mapping()["abstention"] is None

    @pytest.mark.parametrize(
        ("probabilities", "speakers", "message"),
        [
            (PROBABILITIES[:, :2], None, "3 labels"),
            (PROBABILITIES[:3], None, "4 examples"),
            (PROBABILITIES * 2, None, "sum to 1"),
            (PROBABILITIES * np.nan, None, "sum to 1"),
            (PROBABILITIES, ["a", "b"], "2 speakers for 4 examples"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(
        self, probabilities: np.ndarray, speakers: list[str] | None, message: str
    ) -> None:
        with pytest.raises(MetricError, match=message):
            score("m", probabilities, TRUE, LABELS, speakers=speakers)


class TestRestrict:
    def test_what_remains_is_renormalised_in_the_order_asked_for(self) -> None:
        kept = restrict(PROBABILITIES, LABELS, LabelSet(("neutral", "angry")))
        np.testing.assert_allclose(kept[0], [1 / 9, 8 / 9])
        np.testing.assert_allclose(kept.sum(axis=1), 1.0)

    def test_a_row_with_nothing_left_becomes_uniform(self) -> None:
        kept = restrict(np.array([[0.0, 1.0, 0.0]]), LABELS, LabelSet(("neutral", "angry")))
        np.testing.assert_allclose(kept, [[0.5, 0.5]])

    def test_a_label_the_model_has_not_is_refused(self) -> None:
        with pytest.raises(FeatureError, match="'happy'"):
            restrict(PROBABILITIES, LABELS, LabelSet(("angry", "happy")))
