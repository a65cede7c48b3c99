"""Speaker standardisation: what was heard, how it fades, and how it blends with what is assumed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import FeatureError
from models.speaker import UNHEARD, Moments, SpeakerPrior, SpeakerStandardisation, remember


def frames(seed: int, count: int, dim: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=3.0, size=(count, dim)).astype(np.float32)


def prior(*, weight_frames: float = 2.0, memory_frames: float = 100.0) -> SpeakerPrior:
    return SpeakerPrior(np.array([1.0, 0.0]), np.array([2.0, 1.0]), weight_frames, memory_frames)


def assert_same(one: Moments, other: Moments) -> None:
    assert one.frames == pytest.approx(other.frames)
    np.testing.assert_allclose(one.total, other.total)
    np.testing.assert_allclose(one.squares, other.squares)


class TestMoments:
    def test_by_hand(self) -> None:
        moments = Moments.of(np.array([[1.0, 2.0], [3.0, -4.0]]))
        assert moments.frames == 2
        np.testing.assert_array_equal(moments.total, [4, -2])
        np.testing.assert_array_equal(moments.squares, [10, 20])

    def test_half_precision_features_are_summed_without_loss(self) -> None:
        moments = Moments.of(np.full((5000, 1), 100.0, dtype=np.float16))
        assert moments.total[0] == 500_000
        assert moments.squares[0] == 50_000_000

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def test_of_segments_one_after_another_they_are_those_of_all_together(self, lengths: list[int]) -> None:
        segments = [frames(i, length) for i, length in enumerate(lengths)]
        heard = Moments.of(segments[0])
        for segment in segments[1:]:
            heard = heard.plus(Moments.of(segment))
        assert_same(heard, Moments.of(np.concatenate(segments)))

    def test_without_a_limit_order_does_not_matter(self) -> None:
        one, other = Moments.of(frames(0, 4)), Moments.of(frames(1, 9))
        assert_same(one.plus(other), other.plus(one))

    def test_nothing_and_nothing_is_nothing(self) -> None:
        nothing = Moments.of(np.zeros((0, 2)))
        assert nothing.plus(nothing).frames == 0


class TestMemory:
    def test_what_was_heard_never_weighs_more_than_memory(self) -> None:
        heard = Moments.of(frames(0, 8), memory_frames=10)
        for seed in range(1, 6):
            heard = heard.plus(Moments.of(frames(seed, 8), memory_frames=10))
            assert heard.frames == pytest.approx(10)

    def test_what_was_long_ago_fades(self) -> None:
        heard = Moments.of(np.full((10, 1), 100.0), memory_frames=10)
        shares = []
        for _ in range(4):
            heard = heard.plus(Moments.of(np.zeros((10, 1)), memory_frames=10))
            shares.append(heard.total[0] / heard.frames / 100)
        # Each segment as long as memory halves what was there before.
        np.testing.assert_allclose(shares, [1 / 2, 1 / 4, 1 / 8, 1 / 16])

    def test_fading_leaves_the_mean_and_spread_of_a_steady_speaker_alone(self) -> None:
        segment = frames(0, 50)
        heard = Moments.of(segment, memory_frames=60)
        for _ in range(5):
            heard = heard.plus(Moments.of(segment, memory_frames=60))
        np.testing.assert_allclose(heard.total / heard.frames, segment.astype(np.float64).mean(axis=0))
        np.testing.assert_allclose(heard.squares / heard.frames, np.square(segment.astype(np.float64)).mean(axis=0))

    def test_the_shorter_memory_decides(self) -> None:
        heard = Moments.of(frames(0, 30), memory_frames=100).plus(Moments.of(frames(1, 30), memory_frames=20))
        assert (heard.frames, heard.memory_frames) == (pytest.approx(20), 20)


class TestRemembering:
    def test_modalities_are_remembered_apart(self) -> None:
        first = {"voice": Moments.of(frames(0, 3))}
        second = {"voice": Moments.of(frames(1, 4)), "pitch": Moments.of(frames(2, 5))}
        heard = remember(first, second)
        assert_same(heard["voice"], first["voice"].plus(second["voice"]))
        assert heard["pitch"].frames == 5

    def test_nothing_given_is_changed(self) -> None:
        first = {"voice": Moments.of(frames(0, 3))}
        remember(first, {"voice": Moments.of(frames(1, 4)), "pitch": Moments.of(frames(2, 5))})
        assert list(first) == ["voice"]
        assert_same(first["voice"], Moments.of(frames(0, 3)))
        assert not UNHEARD

    def test_what_is_remembered_cannot_be_written_to(self) -> None:
        heard = remember(UNHEARD, {"voice": Moments.of(frames(0, 3))})
        with pytest.raises(TypeError):
            heard["voice"] = Moments.of(frames(1, 3))  # type: ignore[index]


class TestPrior:
    def test_the_first_segment_is_brought_relative_to_the_training_set(self) -> None:
        features = np.array([[3.0, 1.0], [-1.0, -2.0]], dtype=np.float32)
        for heard in (None, Moments.of(np.zeros((0, 2)))):
            found = prior().standardise(features, heard)
            np.testing.assert_allclose(found, [[1.0, 1.0], [-1.0, -2.0]])
            assert found.dtype == np.float32

    def test_speaker_and_prior_blend_by_hand(self) -> None:
        # Prior: mean 1, deviation 2, worth 2 frames. Heard: 4 and 6, two frames, so each half counts the same.
        # Mean (2 * 1 + 10) / 4 = 3; mean square (2 * (4 + 1) + 52) / 4 = 15.5; variance 15.5 - 9 = 6.5.
        # Second feature: mean 0, deviation 1; heard 0 and 2: mean 0.5, mean square (2 + 4) / 4 = 1.5, variance 1.25.
        heard = Moments.of(np.array([[4.0, 0.0], [6.0, 2.0]]))
        found = prior().standardise(np.array([[3.0, 0.5], [3.0 + np.sqrt(6.5), 0.5 - np.sqrt(1.25)]]), heard)
        np.testing.assert_allclose(found, [[0, 0], [1, -1]], atol=1e-6)

    def test_the_more_is_heard_the_less_the_prior_counts(self) -> None:
        voice = np.random.default_rng(0).normal([50.0, -7.0], [3.0, 0.5], size=(20_000, 2))
        found = prior().standardise(voice, Moments.of(voice))
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(found.std(axis=0), 1, atol=0.02)

    def test_a_heavier_prior_moves_less(self) -> None:
        heard = Moments.of(np.full((10, 2), 9.0))
        light, heavy = (prior(weight_frames=w).standardise(np.full((1, 2), 9.0), heard)[0, 0] for w in (1.0, 1000.0))
        assert abs(light) < abs(heavy)

    def test_a_speaker_without_variation_gives_finite_features(self) -> None:
        steady = SpeakerPrior(np.zeros(1), np.full(1, 1e-9), 1e-9, 100.0)
        heard = Moments.of(np.full((50, 1), 0.25))
        assert np.isfinite(steady.standardise(np.full((2, 1), 0.3), heard)).all()

    def test_a_shift_of_the_whole_channel_is_taken_out(self) -> None:
        assumed = SpeakerPrior(np.zeros(2), np.ones(2), 1e-6, 1e6)
        voice, shift = frames(0, 40), np.array([5.0, -3.0], dtype=np.float32)
        plain = assumed.standardise(voice[20:], Moments.of(voice[:20]))
        shifted = assumed.standardise(voice[20:] + shift, Moments.of(voice[:20] + shift))
        np.testing.assert_allclose(plain, shifted, atol=1e-4)

    @pytest.mark.parametrize("features", [np.zeros((3, 5)), np.zeros(2)])
    def test_features_of_another_width_are_refused(self, features: np.ndarray) -> None:
        with pytest.raises(FeatureError, match="do not fit a prior of 2"):
            prior().standardise(features, None)

    @pytest.mark.parametrize(
        ("mean", "deviation", "weight", "memory"),
        [
            (np.zeros(2), np.ones(3), 1.0, 1.0),
            (np.zeros((1, 2)), np.ones((1, 2)), 1.0, 1.0),
            (np.zeros(2), np.array([1.0, 0.0]), 1.0, 1.0),
            (np.zeros(2), np.array([1.0, np.nan]), 1.0, 1.0),
            (np.zeros(2), np.ones(2), 0.0, 1.0),
            (np.zeros(2), np.ones(2), 1.0, -1.0),
        ],
    )
    def test_what_is_no_prior_is_refused(
        self, mean: np.ndarray, deviation: np.ndarray, weight: float, memory: float
    ) -> None:
        with pytest.raises(FeatureError, match="speaker prior needs"):
            SpeakerPrior(mean, deviation, weight, memory)


class TestStandardisation:
    def test_a_modality_without_a_prior_is_left_as_it_is(self) -> None:
        standardisation = SpeakerStandardisation({"voice": prior()})
        words = frames(0, 4, dim=5)
        heard = {"words": Moments.of(words), "voice": Moments.of(frames(1, 3))}
        assert standardisation.standardise("words", words, heard) is words
        assert standardisation.moments("words", words) is None

    def test_a_segment_leaves_moments_that_fade_as_the_prior_says(self) -> None:
        moments = SpeakerStandardisation({"voice": prior(memory_frames=7)}).moments("voice", frames(0, 3))
        assert moments is not None
        assert (moments.frames, moments.memory_frames) == (3, 7)

    def test_each_modality_is_blended_with_what_was_heard_of_it(self) -> None:
        standardisation = SpeakerStandardisation({"voice": prior(), "pitch": prior()})
        heard = {"voice": Moments.of(frames(0, 30))}
        features = frames(1, 2)
        np.testing.assert_array_equal(
            standardisation.standardise("pitch", features, heard), prior().standardise(features, None)
        )
        np.testing.assert_array_equal(
            standardisation.standardise("voice", features, heard), prior().standardise(features, heard["voice"])
        )
