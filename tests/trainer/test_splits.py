"""Splits: nobody is heard on both sides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.examples import DIMS, LABELS, example
from trainer.dataset import TrainingSet
from trainer.errors import RecipeError
from trainer.splits import MIN_SPEAKERS_TO_SPLIT, Split, hold_out, leave_part, speaker_folds


def data_of(**clips_by_speaker: dict[str, int]) -> TrainingSet:
    """By corpus, clips of each speaker."""
    return TrainingSet(
        [
            example(f"{corpus}/{speaker}/{i}", i % 4, corpus=corpus, speaker=f"{corpus}/{speaker}")
            for corpus, speakers in clips_by_speaker.items()
            for speaker, clips in speakers.items()
            for i in range(clips)
        ],
        LABELS,
        DIMS,
    )


def people(count: int, clips: int = 3) -> dict[str, int]:
    return {f"s{i}": clips for i in range(count)}


def speakers(data: TrainingSet) -> set[str]:
    return {e.speaker for e in data.examples}


def assert_apart(split: Split, whole: TrainingSet) -> None:
    assert not speakers(split.train) & speakers(split.development)
    together = [e.id for side in (split.train, split.development) for e in side.examples]
    assert Counter(together) == Counter(e.id for e in whole.examples)


corpora = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(st.text("abcdefghij", min_size=1, max_size=2), st.integers(1, 9), min_size=1, max_size=12),
    min_size=1,
)


class TestPrescribedDevelopment:
    def prescribed(self, clips: int = 3) -> TrainingSet:
        """Of ten speakers, two are set aside by their corpus; another corpus leaves that to us."""
        data = data_of(official=people(10, clips), free=people(10))
        aside = {"official/s3", "official/s7"}
        return TrainingSet([replace(e, for_development=e.speaker in aside) for e in data.examples], LABELS, DIMS)

    def test_what_a_corpus_sets_aside_is_held_out_and_nobody_else_of_it(self) -> None:
        data = self.prescribed()
        split = hold_out(data, 0.2, {}, seed=0)
        assert_apart(split, data)
        held = speakers(split.development)
        assert {s for s in held if s.startswith("official")} == {"official/s3", "official/s7"}
        assert len(held) == 4

    def test_what_a_quota_does_not_need_of_it_is_trained_on_neither(self) -> None:
        split = hold_out(self.prescribed(clips=20), 0.2, {"official": 50}, seed=0)
        held = [s for s in speakers(split.development) if s.startswith("official")]
        assert len(held) == 1
        assert not {"official/s3", "official/s7"} & speakers(split.train)


class TestHoldingOut:
    def test_a_share_of_every_corpus_s_speakers_is_held_out(self) -> None:
        data = data_of(one=people(10), two=people(20))
        split = hold_out(data, 0.2, {}, seed=0)
        assert_apart(split, data)
        assert Counter(s.partition("/")[0] for s in speakers(split.development)) == {"one": 2, "two": 4}

    def test_at_least_one_is_and_never_all(self) -> None:
        data = data_of(one=people(5))
        assert len(speakers(hold_out(data, 0.01, {}, seed=0).development)) == 1
        assert len(speakers(hold_out(data, 0.99, {}, seed=0).development)) == 4

    def test_a_corpus_of_few_speakers_is_trained_on_whole(self) -> None:
        data = data_of(one=people(10), few=people(MIN_SPEAKERS_TO_SPLIT - 1))
        split = hold_out(data, 0.3, {}, seed=0)
        assert_apart(split, data)
        assert all(s.startswith("one/") for s in speakers(split.development))

    def test_of_a_corpus_with_a_quota_development_takes_a_fifth_of_it(self) -> None:
        data = data_of(one=people(10), comments=people(500, clips=1))
        split = hold_out(data, 0.5, {"comments": 100}, seed=0)
        assert_apart(split, data)
        assert sum(e.corpus == "comments" for e in split.development.examples) == 20

    def test_a_quota_never_parts_a_speaker(self) -> None:
        data = data_of(one=people(10), large=people(12, clips=30))
        split = hold_out(data, 0.5, {"large": 100}, seed=0)
        assert_apart(split, data)
        held = Counter(e.speaker for e in split.development.examples if e.corpus == "large")
        assert set(held.values()) == {30}

    def test_the_seed_decides(self) -> None:
        data = data_of(one=people(40))
        drawn = [frozenset(speakers(hold_out(data, 0.2, {}, seed).development)) for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_where_nobody_can_be_held_out_it_says_what_is_needed(self) -> None:
        with pytest.raises(RecipeError, match="at least five speakers"):
            hold_out(data_of(one=people(4), two=people(2)), 0.3, {}, seed=0)

    @settings(deadline=None, max_examples=60)
    @given(corpora, st.floats(0.01, 0.99), st.dictionaries(st.sampled_from(["one", "two"]), st.integers(1, 40)))
    def test_nobody_is_ever_on_both_sides_and_nothing_is_lost(
        self, drawn: dict[str, dict[str, int]], share: float, quota: dict[str, int]
    ) -> None:
        data = data_of(**drawn)
        if all(len(names) < MIN_SPEAKERS_TO_SPLIT for names in drawn.values()):
            with pytest.raises(RecipeError):
                hold_out(data, share, quota, seed=0)
            return
        split = hold_out(data, share, quota, seed=0)
        assert_apart(split, data)
        assert len(split.train) > 0
        assert len(split.development) > 0


class TestParts:
    @settings(deadline=None, max_examples=40)
    @given(
        st.dictionaries(st.text("abc", min_size=1), st.integers(1, 5), min_size=2, max_size=15),
        st.integers(2, 7),
        st.integers(0, 99),
    )
    def test_every_speaker_is_left_out_whole_and_by_just_one_part(
        self, drawn: dict[str, int], parts: int, seed: int
    ) -> None:
        data = data_of(one=drawn)
        splits = [leave_part(data, part, parts, seed) for part in range(parts)]
        for split in splits:
            assert_apart(split, data)
            assert len(split.train) > 0
        left = [speakers(split.development) for split in splits]
        assert sorted(name for names in left for name in names) == sorted(speakers(data))
        assert max(map(len, left)) - min(map(len, left)) <= 1

    def test_spoken_and_written_examples_are_dealt_alike(self) -> None:
        data = data_of(calls=people(4), comments=people(40))
        data = TrainingSet([replace(e, spoken=e.corpus == "calls") for e in data.examples], data.labels, data.dims)
        for part in range(4):
            left = leave_part(data, part, 4, seed=1).development
            assert (int(left.spoken.sum()), int((~left.spoken).sum())) == (3, 30)

    def test_every_seed_deals_anew(self) -> None:
        data = data_of(one=people(10))
        assert len({frozenset(speakers(leave_part(data, 0, 2, seed).train)) for seed in range(10)}) > 5

    def test_one_speaker_cannot_be_dealt(self) -> None:
        with pytest.raises(RecipeError, match="one speaker cannot be dealt into parts: hold out more speakers"):
            leave_part(data_of(one=people(1)), 0, 2, 0)


class TestFolds:
    @settings(deadline=None)
    @given(st.sets(st.text("abc", min_size=1), min_size=2, max_size=30), st.integers(2, 8))
    def test_every_speaker_is_in_just_one_fold_and_folds_are_even(self, names: set[str], folds: int) -> None:
        if len(names) < folds:
            with pytest.raises(RecipeError, match="cannot be dealt"):
                speaker_folds([*names, *names], folds)
            return
        dealt = speaker_folds([*names, *names], folds)
        assert Counter(name for fold in dealt for name in fold) == Counter(names)
        sizes = [len(fold) for fold in dealt]
        assert max(sizes) - min(sizes) <= 1

    def test_a_fold_mixes_early_and_late_speakers(self) -> None:
        assert speaker_folds([f"{i:02}" for i in range(6)], 3) == [("00", "03"), ("01", "04"), ("02", "05")]

    def test_one_fold_is_none(self) -> None:
        with pytest.raises(RecipeError, match="3 speakers cannot be dealt into 1 folds"):
            speaker_folds(["a", "b", "c"], 1)
