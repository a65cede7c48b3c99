"""Examples in memory: joined by id, padded with masks, brought relative to their speakers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.speaker import SpeakerPrior, SpeakerStandardisation
from tests.fakes.examples import DIMS, LABELS, example, frames, voice_moments
from trainer.dataset import Example, TrainingSet
from trainer.errors import CorpusError

BOTH = ("voice", "words")


def words(*values: float) -> np.ndarray:
    return frames(*values, dim=DIMS["words"])


def set_of(*examples: Example, standardisation: SpeakerStandardisation | None = None) -> TrainingSet:
    return TrainingSet(examples, LABELS, DIMS, standardisation)


def mixed_set() -> TrainingSet:
    """Voice and words, voice alone, words alone."""
    return set_of(
        example("both", 1, voice=frames(1, 2, 3), words=words(7), attributes=np.array([1, 4, 7], np.float32)),
        example("voice", 2, voice=frames(4, 5), ambiguous=True),
        example("text", 3, words=words(8, 9), corpus="written"),
    )


class TestLayingOut:
    def test_everything_stands_in_the_order_of_the_examples(self) -> None:
        data = mixed_set()
        assert len(data) == 3
        np.testing.assert_array_equal(data.targets, np.eye(4)[[1, 2, 3]])
        assert data.dominant.tolist() == [1, 2, 3]
        assert data.ambiguous.tolist() == [False, True, False]
        assert data.spoken.tolist() == [True, True, False]
        assert data.lengths.tolist() == [3, 2, 2]
        assert data.corpora == ["made_up", "made_up", "written"]

    def test_positions_are_found_by_id(self) -> None:
        assert mixed_set().positions == {"both": 0, "voice": 1, "text": 2}

    def test_an_id_that_stands_twice_is_refused(self) -> None:
        with pytest.raises(CorpusError, match="ids must be unique to join features and labels"):
            set_of(example("a", 0), example("b", 1), example("a", 2))

    @pytest.mark.parametrize("target", [np.zeros(3), np.zeros((1, 4)), np.zeros(0)])
    def test_a_target_that_does_not_fit_the_labels_is_refused_by_name(self, target: np.ndarray) -> None:
        with pytest.raises(CorpusError, match="targets of 1 examples do not fit the 4 labels, first: b"):
            set_of(example("a"), replace(example("b"), target=target))

    def test_there_may_be_no_example(self) -> None:
        data = set_of()
        assert (len(data), data.targets.shape, data.dominant.shape) == (0, (0, 4), (0,))


class TestSelecting:
    def test_examples_come_in_the_order_asked_for(self) -> None:
        chosen = mixed_set().select(np.array([2, 0]))
        assert [e.id for e in chosen.examples] == ["text", "both"]
        np.testing.assert_array_equal(chosen.targets, np.eye(4)[[3, 1]])

    def test_readable_are_those_with_any_of_the_modalities(self) -> None:
        data = mixed_set()
        assert [e.id for e in data.readable(["words"]).examples] == ["both", "text"]
        assert [e.id for e in data.readable(["voice"]).examples] == ["both", "voice"]
        assert len(data.readable(BOTH)) == 3


class TestCollating:
    def test_features_are_padded_and_masks_are_true_on_real_frames(self) -> None:
        batch = mixed_set().collate(np.array([1, 0]), BOTH)
        assert batch.inputs["voice"].shape == (2, 3, 3)
        assert batch.masks["voice"].tolist() == [[True, True, False], [True, True, True]]
        np.testing.assert_array_equal(batch.inputs["voice"][0, :, 0], [4, 5, 0])
        assert batch.inputs["voice"].dtype == torch.float32

    def test_targets_and_attributes_belong_to_the_features_beside_them(self) -> None:
        batch = mixed_set().collate(np.array([2, 0, 1]), BOTH)
        np.testing.assert_array_equal(batch.targets, np.eye(4)[[3, 1, 2]])
        np.testing.assert_array_equal(batch.attributes, [[0, 0, 0], [1, 4, 7], [0, 0, 0]])
        assert batch.known.tolist() == [0, 1, 0]

    def test_a_missing_modality_has_no_real_frame(self) -> None:
        batch = mixed_set().collate(np.array([1, 2]), BOTH)
        assert batch.masks["voice"].any(dim=1).tolist() == [True, False]
        assert batch.masks["words"].any(dim=1).tolist() == [False, True]
        assert not batch.inputs["words"][0].any()

    def test_a_modality_that_all_lack_still_has_a_frame_of_room(self) -> None:
        batch = mixed_set().collate(np.array([1]), BOTH)
        assert batch.inputs["words"].shape == (1, 1, 2)
        assert not batch.masks["words"].any()

    def test_only_modalities_asked_for_are_given(self) -> None:
        assert list(mixed_set().collate(np.array([0]), ("words",)).inputs) == ["words"]


class TestDroppingModalities:
    def masks(self, drop: float, *, training: bool = True) -> torch.Tensor:
        data, rng = mixed_set(), np.random.default_rng(0)
        drawn = [data.collate(np.arange(3), BOTH, drop=drop, rng=rng if training else None) for _ in range(200)]
        return torch.stack([torch.stack([b.masks[m].any(dim=1) for m in BOTH], dim=1) for b in drawn])

    def test_an_example_with_several_loses_just_one_and_each_at_times(self) -> None:
        kept = self.masks(1.0)[:, 0]
        assert (kept.sum(dim=1) == 1).all()
        assert 60 < int(kept[:, 0].sum()) < 140

    def test_an_example_with_one_keeps_it(self) -> None:
        kept = self.masks(1.0)
        assert kept[:, 1].tolist() == [[True, False]] * 200
        assert kept[:, 2].tolist() == [[False, True]] * 200

    def test_it_happens_with_the_probability_asked_for(self) -> None:
        assert float((self.masks(0.25)[:, 0].sum(dim=1) == 1).float().mean()) == pytest.approx(0.25, abs=0.08)
        assert self.masks(0.0)[:, 0].all()

    def test_never_outside_training(self) -> None:
        assert self.masks(1.0, training=False)[:, 0].all()

    def test_the_examples_themselves_keep_all(self) -> None:
        data = mixed_set()
        data.collate(np.arange(3), BOTH, drop=1.0, rng=np.random.default_rng(0))
        assert data.collate(np.array([0]), BOTH).masks["words"].any()


class TestStandardising:
    PRIOR = SpeakerPrior(np.full(3, 2.0), np.full(3, 4.0), weight_frames=1.0, memory_frames=1e6)

    def speaking(self) -> TrainingSet:
        made = []
        for i in range(4):
            voice = frames(10.0 * (i + 1))
            made.append(example(str(i), voice=voice, words=words(5), moments=voice_moments(voice)))
        return set_of(*made)

    def test_evaluation_brings_each_clip_relative_to_those_before_it(self) -> None:
        data = self.speaking().standardised(SpeakerStandardisation({"voice": self.PRIOR}))
        found = data.collate(np.arange(4), ("voice",)).inputs["voice"][:, 0, 0].numpy()
        plain = np.array([10.0, 20.0, 30.0, 40.0])
        first = [i for i in range(4) if found[i] == pytest.approx((plain[i] - 2) / 4)]
        assert len(first) == 1
        again = data.collate(np.array([3, 1, 2, 0]), ("voice",)).inputs["voice"][:, 0, 0].numpy()
        np.testing.assert_array_equal(again[[3, 1, 2, 0]], found)

    def test_training_hears_other_histories_each_time(self) -> None:
        data = self.speaking().standardised(SpeakerStandardisation({"voice": self.PRIOR}))
        rng = np.random.default_rng(0)
        drawn = {float(data.collate(np.array([2]), ("voice",), rng=rng).inputs["voice"][0, 0, 0]) for _ in range(50)}
        assert len(drawn) > 4

    def test_a_modality_without_a_prior_is_untouched(self) -> None:
        data = self.speaking().standardised(SpeakerStandardisation({"voice": self.PRIOR}))
        for rng in (None, np.random.default_rng(0)):
            assert (data.collate(np.arange(4), ("words",), rng=rng).inputs["words"] == 5).all()

    def test_without_standardisation_features_are_as_they_are_stored(self) -> None:
        assert self.speaking().collate(np.array([1]), ("voice",)).inputs["voice"].flatten().tolist() == [20.0] * 3

    def test_selecting_keeps_it_and_hears_the_chosen_alone(self) -> None:
        data = self.speaking().standardised(SpeakerStandardisation({"voice": self.PRIOR})).select(np.array([3]))
        np.testing.assert_allclose(data.collate(np.array([0]), ("voice",)).inputs["voice"], (40.0 - 2) / 4)


class TestStatistics:
    def test_mean_and_deviation_are_over_all_frames_of_all_examples(self) -> None:
        mean, deviation = mixed_set().statistics("voice")
        np.testing.assert_allclose(mean, [3.0] * 3)
        np.testing.assert_allclose(deviation, np.std([1, 2, 3, 4, 5]))

    def test_a_modality_brought_relative_to_speakers_needs_no_more(self) -> None:
        data = mixed_set().standardised(SpeakerStandardisation({"voice": TestStandardising.PRIOR}))
        mean, deviation = data.statistics("voice")
        assert (mean.tolist(), deviation.tolist()) == ([0.0] * 3, [1.0] * 3)

    def test_a_modality_nobody_has_is_left_at_its_scale(self) -> None:
        mean, deviation = set_of(example("a", words=words(1))).statistics("voice")
        assert (mean.tolist(), deviation.tolist()) == ([0.0] * 3, [1.0] * 3)

    def test_a_feature_that_never_varies_has_a_positive_deviation(self) -> None:
        _, deviation = set_of(example("a", voice=frames(3, 3, 3))).statistics("voice")
        assert (deviation > 0).all()
