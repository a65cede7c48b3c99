from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from trainer.errors import MetricError
from trainer.metrics import (
    accuracy,
    calibration_error_of,
    calibration_gaps,
    class_scores,
    concordance,
    confusion_cells,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    reliability,
    risk_coverage,
    unweighted_average_recall,
)

TRUE = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 2, 1])
# Class 0: 3 of 4 found, 4 claimed; class 1: 1 of 2 found, 3 claimed; class 2: 1 of 2 found, 1 claimed.

pairs = st.integers(2, 6).flatmap(
    lambda labels: st.tuples(
        st.just(labels),
        st.lists(st.tuples(st.integers(0, labels - 1), st.integers(0, labels - 1)), min_size=1, max_size=60),
    )
)


class TestClassification:
    def test_the_confusion_matrix_has_the_truth_in_its_rows(self) -> None:
        np.testing.assert_array_equal(confusion_matrix(TRUE, PREDICTED, 3), [[3, 1, 0], [1, 1, 0], [0, 1, 1]])

    def test_it_is_the_sum_of_what_each_example_adds(self) -> None:
        cells = confusion_cells(TRUE, PREDICTED, 3)
        np.testing.assert_array_equal(cells.sum(axis=0), confusion_matrix(TRUE, PREDICTED, 3))
        np.testing.assert_array_equal(cells.sum(axis=(1, 2)), 1)

    def test_per_class_figures_by_hand(self) -> None:
        scores = class_scores(confusion_matrix(TRUE, PREDICTED, 3))
        np.testing.assert_allclose(scores.precision, [3 / 4, 1 / 3, 1])
        np.testing.assert_allclose(scores.recall, [3 / 4, 1 / 2, 1 / 2])
        np.testing.assert_allclose(scores.f1, [3 / 4, 2 / 5, 2 / 3])
        np.testing.assert_array_equal(scores.support, [4, 2, 2])

    def test_averages_by_hand(self) -> None:
        assert macro_f1(TRUE, PREDICTED, 3) == pytest.approx((3 / 4 + 2 / 5 + 2 / 3) / 3)
        assert unweighted_average_recall(TRUE, PREDICTED, 3) == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
        assert accuracy(TRUE, PREDICTED, 3) == pytest.approx(5 / 8)

    def test_classes_that_never_occur_are_left_out_of_averages(self) -> None:
        assert macro_f1(TRUE, PREDICTED, 7) == macro_f1(TRUE, PREDICTED, 3)

    def test_a_false_alarm_for_an_absent_class_still_costs_the_class_it_came_from(self) -> None:
        assert macro_f1(np.array([0, 0]), np.array([0, 1]), 2) == pytest.approx(2 / 3)

    @settings(deadline=None)
    @given(pairs)
    def test_scikit_learn_agrees(self, drawn: tuple[int, list[tuple[int, int]]]) -> None:
        labels, examples = drawn
        true, predicted = (np.array(column) for column in zip(*examples, strict=True))
        present = np.unique(true)
        np.testing.assert_array_equal(
            confusion_matrix(true, predicted, labels),
            reference.confusion_matrix(true, predicted, labels=range(labels)),
        )
        assert macro_f1(true, predicted, labels) == pytest.approx(
            reference.f1_score(true, predicted, labels=present, average="macro", zero_division=0)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            balanced = reference.balanced_accuracy_score(true, predicted)
        assert unweighted_average_recall(true, predicted, labels) == pytest.approx(balanced)
        precision, recall, f1, support = reference.precision_recall_fscore_support(
            true, predicted, labels=range(labels), zero_division=0
        )
        scores = class_scores(confusion_matrix(true, predicted, labels))
        np.testing.assert_allclose(scores.precision, precision)
        np.testing.assert_allclose(scores.recall, recall)
        np.testing.assert_allclose(scores.f1, f1)
        np.testing.assert_array_equal(scores.support, support)

    @pytest.mark.parametrize(
        ("true", "predicted", "message"),
        [
            ([], [], "no example"),
            ([0, 1], [0], "one length"),
            ([0, 3], [0, 1], "truth holds class indices outside 0 to 2"),
            ([0, 1], [0, -1], "prediction holds"),
        ],
    )
    def test_what_cannot_be_measured_is_refused(self, true: list[int], predicted: list[int], message: str) -> None:
        with pytest.raises(MetricError, match=message):
            confusion_matrix(np.array(true, dtype=np.int64), np.array(predicted, dtype=np.int64), 3)


class TestConcordance:
    def test_by_hand(self) -> None:
        # Means 2 and 3, variances 2/3 each, covariance 2/3: 2 * 2/3 over (2/3 + 2/3 + 1).
        assert concordance(np.array([1.0, 2, 3]), np.array([2.0, 3, 4])) == pytest.approx((4 / 3) / (7 / 3))

    def test_perfect_reversed_and_constant(self) -> None:
        x = np.array([1.0, 2, 4])
        assert concordance(x, x) == pytest.approx(1.0)
        assert concordance(x - x.mean(), x.mean() - x) == pytest.approx(-1.0)
        assert concordance(x, np.full(3, 2.0)) == 0.0
        assert concordance(np.full(3, 2.0), np.full(3, 2.0)) == 1.0

    def test_what_cannot_be_measured_is_refused(self) -> None:
        with pytest.raises(MetricError, match="one length"):
            concordance(np.zeros(0), np.zeros(0))
        with pytest.raises(MetricError, match="not finite"):
            concordance(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


class TestCalibration:
    def test_by_hand(self) -> None:
        # Ten bins. Two at 0.55, one right: |0.5 - 0.55|; two at 0.95, both right: |1 - 0.95|; weights a half each.
        confidence = np.array([0.55, 0.55, 0.95, 0.95])
        correct = np.array([True, False, True, True])
        assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(0.05)

    def test_an_edge_belongs_to_the_bin_below_it(self) -> None:
        counts = reliability(np.array([0.0, 0.5, 1.0]), np.array([True, True, True]), bins=2).counts
        np.testing.assert_array_equal(counts, [2, 1])

    def test_empty_bins_hold_zeros_and_do_not_count(self) -> None:
        binned = reliability(np.array([0.9]), np.array([True]))
        assert binned.counts.sum() == 1
        assert binned.expected_calibration_error == pytest.approx(0.1)
        assert np.isfinite(binned.accuracy).all()

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
    def test_it_lies_between_0_and_1_and_every_example_is_in_a_bin(self, drawn: list[tuple[float, bool]]) -> None:
        confidence, correct = (np.array(column) for column in zip(*drawn, strict=True))
        binned = reliability(confidence, correct)
        assert binned.counts.sum() == len(drawn)
        assert 0 <= binned.expected_calibration_error <= 1

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
    def test_it_can_be_read_off_the_sum_of_what_each_example_adds(self, drawn: list[tuple[float, bool]]) -> None:
        confidence, correct = (np.array(column) for column in zip(*drawn, strict=True))
        summed = calibration_gaps(confidence, correct).sum(axis=0)
        assert calibration_error_of(summed) == pytest.approx(expected_calibration_error(confidence, correct))

    def test_what_is_no_confidence_is_refused(self) -> None:
        with pytest.raises(MetricError, match="outside 0 to 1"):
            reliability(np.array([1.2]), np.array([True]))
        with pytest.raises(MetricError, match="one length"):
            reliability(np.array([0.5]), np.array([True, False]))


class TestRiskCoverage:
    def test_by_hand(self) -> None:
        curve = risk_coverage(np.array([0.6, 0.9, 0.8, 0.7]), np.array([False, True, False, True]))
        np.testing.assert_allclose(curve.thresholds, [0.9, 0.8, 0.7, 0.6])
        np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 2])
        assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)

    @settings(deadline=None)
    @given(st.permutations([(0.9, True), (0.5, False), (0.5, True), (0.5, True), (0.1, False)]))
    def test_equal_confidences_share_a_point_whatever_their_order(self, drawn: list[tuple[float, bool]]) -> None:
        confidence, correct = (np.array(column) for column in zip(*drawn, strict=True))
        curve = risk_coverage(confidence, correct)
        np.testing.assert_allclose(curve.coverage, [0.2, 0.8, 1.0])
        np.testing.assert_allclose(curve.risk, [0, 1 / 4, 2 / 5])
