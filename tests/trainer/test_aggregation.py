"""Aggregations by hand where that can be done, and what must hold of them whatever the posteriors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.aggregation import HeldOut, ScoreSVM, best_member, hard_voting, soft_voting
from trainer.errors import MetricError, TrainerError
from trainer.metrics import accuracy, expected_calibration_error

posteriors = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(0, 1000)).map(
    lambda drawn: np.random.default_rng(drawn[3]).dirichlet(np.ones(drawn[2]), size=drawn[:2])
)


def held_out(true: np.ndarray, *members: np.ndarray, speakers: list[str] | None = None) -> HeldOut:
    names = speakers or [f"s{i % 6}" for i in range(true.size)]
    return HeldOut(np.stack(members, axis=1), true, names, np.ones(true.size, dtype=np.bool_))


def noisy(true: np.ndarray, labels: int, noise: float, seed: int) -> np.ndarray:
    """Posteriors that tell the class, more or less."""
    logits = 2.0 * np.eye(labels)[true] + np.random.default_rng(seed).normal(scale=noise, size=(true.size, labels))
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


class TestVoting:
    def test_soft_voting_is_the_mean(self) -> None:
        given_posteriors = np.array([[[0.8, 0.2], [0.4, 0.6]]])
        np.testing.assert_allclose(soft_voting(given_posteriors), [[0.6, 0.4]])

    def test_hard_voting_counts_heads_however_sure_they_are(self) -> None:
        one_sure_two_unsure = np.array([[[0.99, 0.01], [0.4, 0.6], [0.4, 0.6]]])
        np.testing.assert_allclose(hard_voting(one_sure_two_unsure), [[1 / 3, 2 / 3]], atol=1e-5)
        assert soft_voting(one_sure_two_unsure).argmax() == 0

    def test_a_tie_goes_to_the_greatest_summed_posterior(self) -> None:
        tied = np.array([[[0.55, 0.45, 0.0], [0.1, 0.9, 0.0]], [[0.9, 0.1, 0.0], [0.45, 0.55, 0.0]]])
        np.testing.assert_array_equal(hard_voting(tied).argmax(axis=1), [1, 0])

    def test_a_member_with_nothing_to_read_favours_no_class(self) -> None:
        uniform = np.full((1, 3, 3), 1 / 3)
        uniform[0, 0] = [0.1, 0.2, 0.7]
        np.testing.assert_allclose(hard_voting(uniform), [[2 / 9, 2 / 9, 5 / 9]], atol=1e-5)

    @settings(deadline=None)
    @given(posteriors)
    def test_votes_are_distributions_and_members_have_no_order(self, drawn: np.ndarray) -> None:
        for vote in (soft_voting, hard_voting):
            voted = vote(drawn)
            assert voted.shape == (drawn.shape[0], drawn.shape[2])
            np.testing.assert_allclose(voted.sum(axis=1), 1)
            assert (voted >= 0).all()
            np.testing.assert_allclose(vote(drawn[:, ::-1]), voted)

    @pytest.mark.parametrize("shape", [(4, 3), (2, 0, 3), (2, 3, 0)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(MetricError, match="examples, members, labels"):
            soft_voting(np.zeros(shape))


class TestBestMember:
    def test_it_has_the_best_macro_f1_on_held_out_speakers(self) -> None:
        true = np.arange(60) % 3
        assert best_member(held_out(true, noisy(true, 3, 3.0, 1), noisy(true, 3, 0.1, 2), noisy(true, 3, 3.0, 3))) == 1

    def test_of_equals_it_is_the_first(self) -> None:
        true = np.arange(6) % 3
        assert best_member(held_out(true, np.eye(3)[true], np.eye(3)[true])) == 0

    def test_it_may_be_chosen_on_what_is_like_the_set_to_be_scored(self) -> None:
        true = np.array([0, 1, 0, 1])
        hears, reads = np.eye(2)[[0, 1, 0, 0]], np.eye(2)[[0, 0, 0, 1]]
        both = HeldOut(
            np.stack([hears, reads], axis=1), true, ["a", "b", "c", "d"], np.array([True, True, False, False])
        )
        assert best_member(both.of_kind(np.array([True]))) == 0
        assert best_member(both.of_kind(np.array([False, False]))) == 1
        assert both.of_kind(np.array([True])).speakers == ["a", "b"]

    def test_where_nothing_is_like_it_all_is_chosen_on(self) -> None:
        true = np.array([0, 1])
        spoken = held_out(true, np.eye(2)[true])
        assert spoken.of_kind(np.array([False])) is spoken

    def test_what_does_not_belong_together_is_refused(self) -> None:
        with pytest.raises(MetricError, match="do not belong together"):
            HeldOut(np.zeros((2, 1, 2)), np.zeros(3, dtype=np.int64), ["a", "b"], np.ones(2, dtype=np.bool_))


class TestSVM:
    @pytest.fixture
    def split(self) -> tuple[HeldOut, np.ndarray, np.ndarray]:
        """Held-out speakers, and further examples of the same members: the second of them confuses two classes."""
        true, other = np.arange(240) % 3, np.arange(300) % 3
        swapped = np.array([1, 0, 2])
        known = held_out(true, noisy(true, 3, 1.0, 1), noisy(swapped[true], 3, 1.0, 2))
        scored = np.stack([noisy(other, 3, 1.0, 3), noisy(swapped[other], 3, 1.0, 4)], axis=1)
        return known, scored, other

    def test_it_learns_from_held_out_speakers_what_members_confuse(
        self, split: tuple[HeldOut, np.ndarray, np.ndarray]
    ) -> None:
        known, scored, true = split
        fused = ScoreSVM.fit(known).probabilities(scored)
        reached, voted = (accuracy(true, p.argmax(axis=1), 3) for p in (fused, soft_voting(scored)))
        assert reached > voted + 0.1

    def test_its_probabilities_are_calibrated_distributions(
        self, split: tuple[HeldOut, np.ndarray, np.ndarray]
    ) -> None:
        known, scored, true = split
        fused = ScoreSVM.fit(known).probabilities(scored)
        np.testing.assert_allclose(fused.sum(axis=1), 1)
        assert expected_calibration_error(fused.max(axis=1), fused.argmax(axis=1) == true) < 0.1

    def test_the_same_examples_give_the_same_machine(self, split: tuple[HeldOut, np.ndarray, np.ndarray]) -> None:
        known, scored, _ = split
        np.testing.assert_array_equal(
            ScoreSVM.fit(known).probabilities(scored), ScoreSVM.fit(known).probabilities(scored)
        )

    def test_temperature_is_fitted_on_speakers_the_machine_has_not_seen(self) -> None:
        # Posteriors name the speaker, and each speaker has one class: what is known of them says nothing of others.
        true = np.repeat(np.arange(12) % 2, 10)
        named = np.repeat(np.eye(12), 10, axis=0)
        alone = ScoreSVM.fit(held_out(true, named, speakers=[f"s{i // 10}" for i in range(120)]))
        mixed = ScoreSVM.fit(held_out(true, named, speakers=[f"s{i % 10}" for i in range(120)]))
        assert alone.temperature > 4 * mixed.temperature

    def test_a_class_nobody_held_out_gets_nothing(self) -> None:
        true = np.array([0, 2] * 20)
        scores = noisy(true, 4, 0.5, 0)
        found = ScoreSVM.fit(held_out(true, scores)).probabilities(scores[:, None])
        np.testing.assert_array_equal(found[:, [1, 3]], 0)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert (found.argmax(axis=1) == true).mean() > 0.9

    @pytest.mark.parametrize(
        ("true", "speakers", "message"),
        [
            ([0, 0, 0, 0], ["a", "b", "c", "d"], "two classes and two speakers, got 1 and 4"),
            ([0, 1, 0, 1], ["a", "a", "a", "a"], "two classes and two speakers, got 2 and 1"),
            ([0, 1, 1, 1], ["a", "b", "b", "b"], "whichever speakers are left out"),
        ],
    )
    def test_what_teaches_nothing_is_refused(self, true: list[int], speakers: list[str], message: str) -> None:
        classes = np.array(true)
        with pytest.raises(MetricError, match=message):
            ScoreSVM.fit(held_out(classes, np.eye(2)[classes], speakers=speakers))

    def test_without_scikit_learn_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sklearn.svm", None)
        with pytest.raises(TrainerError, match=r"install medusa-live\[train\]"):
            ScoreSVM.fit(held_out(np.array([0, 1]), np.eye(2)))
