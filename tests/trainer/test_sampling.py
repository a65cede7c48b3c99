"""What an epoch sees, and how it is cut into batches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import RecipeError
from trainer.sampling import balanced_epoch, batches, evened_quota, full_epoch

# Nine of class 0, five of class 1, three of class 2, and six that annotators did not agree on.
DOMINANT = np.array([0] * 9 + [1] * 5 + [2] * 3 + [0, 0, 1, 1, 2, 2])
AMBIGUOUS = np.array([False] * 17 + [True] * 6)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestFullEpoch:
    CORPORA = ("small",) * 4 + ("large",) * 30

    def test_without_quotas_it_is_everything_once_shuffled(self) -> None:
        epoch = full_epoch(self.CORPORA, {}, rng())
        assert sorted(epoch) == list(range(34))
        assert epoch.tolist() != list(range(34))

    def test_a_corpus_with_a_quota_gives_that_many_and_the_others_all(self) -> None:
        epoch = full_epoch(self.CORPORA, {"large": 7}, rng())
        assert Counter(self.CORPORA[i] for i in epoch) == {"small": 4, "large": 7}
        assert len(set(epoch.tolist())) == 11

    def test_quotas_are_drawn_anew_each_time_until_all_have_been_seen(self) -> None:
        source = rng()
        epochs = [frozenset(full_epoch(self.CORPORA, {"large": 7}, source).tolist()) for _ in range(30)]
        assert len(set(epochs)) == 30
        assert frozenset().union(*epochs) == frozenset(range(34))

    def test_a_quota_above_what_there_is_changes_nothing(self) -> None:
        assert sorted(full_epoch(self.CORPORA, {"small": 99}, rng())) == list(range(34))

    def test_the_same_chance_gives_the_same_epoch(self) -> None:
        np.testing.assert_array_equal(
            full_epoch(self.CORPORA, {"large": 7}, rng(5)), full_epoch(self.CORPORA, {"large": 7}, rng(5))
        )

    def test_of_nothing_it_is_empty(self) -> None:
        assert full_epoch((), {}, rng()).size == 0


class TestViews:
    CORPORA = ("heard",) * 6 + ("read",) * 4
    UTTERANCES = np.array([0, 1, 0, 1, 0, 1, 2, 3, 4, 5])

    def test_an_epoch_sees_one_view_of_every_utterance(self) -> None:
        epoch = full_epoch(self.CORPORA, {}, rng(), self.UTTERANCES)
        assert sorted(self.UTTERANCES[epoch].tolist()) == list(range(6))

    def test_over_epochs_it_sees_all_of_them_alike(self) -> None:
        source = rng()
        seen = Counter(i for _ in range(300) for i in full_epoch(self.CORPORA, {}, source, self.UTTERANCES).tolist())
        assert all(60 < seen[i] < 140 for i in range(6))
        assert all(seen[i] == 300 for i in range(6, 10))

    def test_a_quota_counts_utterances(self) -> None:
        epoch = full_epoch(self.CORPORA, {"heard": 1, "read": 2}, rng(), self.UTTERANCES)
        assert Counter(self.CORPORA[i] for i in epoch) == {"heard": 1, "read": 2}


class TestEveningOut:
    CORPORA = ("large",) * 200 + ("small",) * 8 + ("read",) * 500
    UTTERANCES = np.concatenate([np.arange(100).repeat(2), 100 + np.arange(4).repeat(2), 200 + np.arange(500)])
    SPOKEN = np.array([True] * 208 + [False] * 500)

    @pytest.mark.parametrize(("balance", "large"), [(0.0, 100), (0.5, 20), (1.0, 4)])
    def test_the_larger_gives_less_the_more_they_are_evened_out(self, balance: float, large: int) -> None:
        quota = evened_quota(self.CORPORA, self.UTTERANCES, self.SPOKEN, balance)
        assert quota == {"large": large, "small": 4}

    def test_where_nothing_is_heard_there_is_nothing_to_even_out(self) -> None:
        assert evened_quota(self.CORPORA, self.UTTERANCES, np.zeros(708, dtype=bool), 0.5) == {}


class TestBalancedEpoch:
    def test_every_class_has_as_many_as_the_rarest_and_the_ambiguous_as_many_as_one_class(self) -> None:
        epoch = balanced_epoch(DOMINANT, AMBIGUOUS, rng())
        clear = epoch[~AMBIGUOUS[epoch]]
        assert Counter(DOMINANT[clear].tolist()) == {0: 3, 1: 3, 2: 3}
        assert int(AMBIGUOUS[epoch].sum()) == 3

    def test_no_example_stands_in_it_twice(self) -> None:
        epoch = balanced_epoch(DOMINANT, AMBIGUOUS, rng())
        assert len(set(epoch.tolist())) == epoch.size

    def test_it_is_drawn_anew_each_time_until_all_have_been_seen(self) -> None:
        source = rng()
        epochs = [frozenset(balanced_epoch(DOMINANT, AMBIGUOUS, source).tolist()) for _ in range(40)]
        assert len(set(epochs)) > 35
        assert frozenset().union(*epochs) == frozenset(range(23))

    def test_fewer_ambiguous_examples_than_a_class_has_are_all_taken(self) -> None:
        ambiguous = np.array([False] * 17 + [True] + [False] * 5)
        epoch = balanced_epoch(DOMINANT, ambiguous, rng())
        assert ambiguous[epoch].sum() == 1

    def test_without_ambiguous_examples_it_is_the_balanced_subset_alone(self) -> None:
        epoch = balanced_epoch(DOMINANT[:17], AMBIGUOUS[:17], rng())
        assert Counter(DOMINANT[epoch].tolist()) == {0: 3, 1: 3, 2: 3}

    def test_where_nobody_ever_agreed_there_is_nothing_to_balance(self) -> None:
        with pytest.raises(RecipeError, match="all are ambiguous"):
            balanced_epoch(DOMINANT, np.ones(23, dtype=np.bool_), rng())

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=80).filter(
            lambda drawn: not all(ambiguous for _, ambiguous in drawn)
        ),
        st.integers(0, 1000),
    )
    def test_however_classes_are_spread(self, drawn: list[tuple[int, bool]], seed: int) -> None:
        dominant = np.array([label for label, _ in drawn])
        ambiguous = np.array([unclear for _, unclear in drawn])
        epoch = balanced_epoch(dominant, ambiguous, rng(seed))
        counts = Counter(dominant[~ambiguous].tolist())
        rarest = min(counts.values())
        found = Counter(dominant[epoch[~ambiguous[epoch]]].tolist())
        assert found == dict.fromkeys(counts, rarest)
        assert ambiguous[epoch].sum() == min(rarest, ambiguous.sum())
        assert len(set(epoch.tolist())) == epoch.size


class TestBatches:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=120),
        st.integers(1, 9),
        st.integers(0, 1000),
    )
    def test_every_position_of_the_epoch_stands_in_just_one_batch(
        self, examples: list[tuple[int, bool]], size: int, seed: int
    ) -> None:
        lengths = np.array([length for length, _ in examples], dtype=np.int64)
        spoken = np.array([heard for _, heard in examples], dtype=np.bool_)
        order = rng(seed).permutation(len(examples))[: len(examples) * 2 // 3]
        cut = list(batches(order, lengths, spoken, size, rng(seed)))
        assert sorted(np.concatenate([np.empty(0, np.int64), *cut])) == sorted(order)
        assert all(1 <= batch.size <= size for batch in cut)
        assert all(len(set(spoken[batch].tolist())) == 1 for batch in cut)

    def test_only_the_last_batch_of_a_kind_is_not_full(self) -> None:
        spoken = np.array([True] * 23 + [False] * 11)
        cut = list(batches(np.arange(34), np.arange(34), spoken, 4, rng()))
        assert Counter((bool(spoken[b[0]]), b.size) for b in cut) == {
            (True, 4): 5,
            (True, 3): 1,
            (False, 4): 2,
            (False, 3): 1,
        }

    def test_a_batch_holds_examples_of_like_length(self) -> None:
        lengths = rng().permutation(64)
        for batch in batches(np.arange(64), lengths, np.ones(64, np.bool_), 4, rng()):
            assert np.ptp(lengths[batch]) == 3

    def test_batches_come_in_another_order_each_time(self) -> None:
        source = rng()
        firsts = {
            int(next(iter(batches(np.arange(64), np.arange(64), np.ones(64, np.bool_), 4, source)))[0])
            for _ in range(20)
        }
        assert len(firsts) > 5
