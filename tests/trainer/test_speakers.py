"""What is heard of a speaker before an example: never what comes after it, never the example itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.speaker import UNHEARD, SpeakerMoments, remember
from tests.fakes.examples import DIMS, example, frames, voice_moments
from trainer.dataset import Example
from trainer.recipe import SpeakerRecipe
from trainer.speakers import FIRST_SEGMENT_SHARE, LONGEST_HISTORY, SpeakerHistory, fit_priors, moments_of

MEMORY_FRAMES = 50.0
RECIPE = {"voice": SpeakerRecipe(weight_frames=5, memory_frames=MEMORY_FRAMES)}


def clips(count: int, speaker: str = "someone") -> list[Example]:
    """Clip i holds one frame of 2 ** i: the sum of a history tells which clips are in it."""
    made = []
    for i in range(count):
        voice = frames(2.0**i)
        made.append(
            example(f"{speaker}/{i}", speaker=speaker, voice=voice, moments=voice_moments(voice, MEMORY_FRAMES))
        )
    return made


def members(heard: SpeakerMoments, count: int) -> frozenset[int]:
    """Which clips of `clips` were heard."""
    total = int(heard["voice"].total[0]) if heard else 0
    return frozenset(i for i in range(count) if total >> i & 1)


class TestEvaluation:
    def test_every_clip_but_the_first_is_heard_after_all_that_came_before_it(self) -> None:
        history = SpeakerHistory(clips(8))
        heard = [members(history.running(i), 8) for i in range(8)]
        assert sorted(len(h) for h in heard) == list(range(8))
        by_turn = sorted(range(8), key=lambda i: len(heard[i]))
        for turn, clip in enumerate(by_turn):
            assert heard[clip] == frozenset(by_turn[:turn])

    def test_the_future_does_not_leak(self) -> None:
        made = clips(8)
        before = SpeakerHistory(made)
        last = max(range(8), key=lambda i: len(members(before.running(i), 8)))
        loud = frames(30_000.0)
        changed = [*made]
        changed[last] = example(made[last].id, voice=loud, moments=voice_moments(loud))
        after = SpeakerHistory(changed)
        for i in range(8):
            assert members(after.running(i), 8) == members(before.running(i), 8)

    def test_a_speaker_on_another_line_is_somebody_else(self) -> None:
        made = [*clips(4), *(replace(e, id=f"{e.id}@telephone", view="telephone") for e in clips(4))]
        history = SpeakerHistory(made)
        assert sorted(len(members(history.running(i), 4)) for i in range(4)) == [0, 1, 2, 3]
        assert sorted(len(members(history.running(i), 4)) for i in range(4, 8)) == [0, 1, 2, 3]

    def test_nobody_is_heard_through_another(self) -> None:
        made = [*clips(4, "one"), *clips(4, "two")]
        history = SpeakerHistory(made)
        assert sorted(len(members(history.running(i), 4)) for i in range(4)) == [0, 1, 2, 3]
        assert sorted(len(members(history.running(i), 4)) for i in range(4, 8)) == [0, 1, 2, 3]

    def test_the_order_is_the_same_every_time_and_not_that_of_the_files(self) -> None:
        first, again = SpeakerHistory(clips(8)), SpeakerHistory(clips(8))
        order = [len(members(first.running(i), 8)) for i in range(8)]
        assert order == [len(members(again.running(i), 8)) for i in range(8)]
        assert order != list(range(8))

    def test_what_has_no_voice_neither_hears_nor_is_heard(self) -> None:
        made = [*clips(3), example("text", words=frames(1.0, dim=2))]
        history = SpeakerHistory(made)
        assert history.running(3) == UNHEARD
        assert sorted(len(members(history.running(i), 3)) for i in range(3)) == [0, 1, 2]


class TestTraining:
    def draws(self, position: int = 2, *, count: int = 6, times: int = 400) -> list[frozenset[int]]:
        history, rng = SpeakerHistory(clips(count)), np.random.default_rng(0)
        return [members(history.drawn(position, rng), count) for _ in range(times)]

    def test_an_example_is_never_in_its_own_history(self) -> None:
        assert all(2 not in heard for heard in self.draws())

    def test_histories_differ_from_nothing_to_everybody_else(self) -> None:
        drawn = self.draws()
        assert len(set(drawn)) > 10
        assert frozenset({0, 1, 3, 4, 5}) in drawn

    def test_some_are_a_first_segment(self) -> None:
        share = sum(not heard for heard in self.draws(times=2000)) / 2000
        assert FIRST_SEGMENT_SHARE - 0.03 < share < FIRST_SEGMENT_SHARE + 0.06

    def test_a_history_has_an_end(self) -> None:
        made = [example(str(i), voice=frames(1.0), moments=voice_moments(frames(1.0))) for i in range(60)]
        history, rng = SpeakerHistory(made), np.random.default_rng(0)
        lengths = [h["voice"].frames for h in (history.drawn(0, rng) for _ in range(300)) if h]
        assert max(lengths) == LONGEST_HISTORY

    def test_a_speaker_of_one_clip_is_always_new(self) -> None:
        assert self.draws(0, count=1, times=20) == [frozenset()] * 20

    def test_the_same_chance_gives_the_same_histories(self) -> None:
        assert self.draws() == self.draws()


class TestPriors:
    def test_they_are_mean_and_deviation_over_all_frames(self) -> None:
        voices = [frames(1.0, 2.0, 6.0), frames(3.0)]
        made = [example(str(i), voice=v, moments=voice_moments(v)) for i, v in enumerate(voices)]
        fitted = fit_priors(made, RECIPE, DIMS).priors["voice"]
        np.testing.assert_allclose(fitted.mean, 3.0)
        np.testing.assert_allclose(fitted.deviation, np.std([1, 2, 6, 3]))
        assert (fitted.weight_frames, fitted.memory_frames) == (5, 50)

    def test_only_modalities_of_the_recipe_have_one(self) -> None:
        voice = frames(1.0, 2.0)
        made = [example("a", voice=voice, words=frames(1.0, dim=2), moments=voice_moments(voice))]
        assert list(fit_priors(made, RECIPE, DIMS).priors) == ["voice"]

    def test_a_modality_nobody_has_is_left_at_its_scale(self) -> None:
        fitted = fit_priors([example("a", words=frames(1.0, dim=2))], RECIPE, DIMS)
        features = frames(1.0, 5.0).astype(np.float32)
        np.testing.assert_array_equal(fitted.standardise("voice", features, UNHEARD), features)

    def test_a_feature_that_never_varies_stays_finite(self) -> None:
        fitted = fit_priors([example("a", voice=frames(2.0), moments=voice_moments(frames(2.0)))], RECIPE, DIMS)
        assert np.isfinite(fitted.standardise("voice", frames(2.5).astype(np.float32), UNHEARD)).all()


class TestMomentsOfAnExample:
    def test_they_are_of_the_standardised_modalities_that_are_there(self) -> None:
        found = moments_of({"voice": frames(1.0, 3.0), "words": frames(1.0, dim=2)}, RECIPE)
        assert list(found) == ["voice"]
        assert (found["voice"].frames, found["voice"].total[0], found["voice"].memory_frames) == (2, 4.0, 50)

    @pytest.mark.parametrize("voice", [None, frames()])
    def test_a_missing_or_empty_modality_adds_nothing(self, voice: np.ndarray | None) -> None:
        assert moments_of({"voice": voice}, RECIPE) == {}


def test_evaluation_remembers_as_the_live_path_does() -> None:
    rng = np.random.default_rng(0)
    voices = [rng.normal(size=(20, DIMS["voice"])).astype(np.float16) for _ in range(6)]
    made = [example(str(i), voice=v, moments=moments_of({"voice": v}, RECIPE)) for i, v in enumerate(voices)]
    history = SpeakerHistory(made)
    standardisation = fit_priors(made, RECIPE, DIMS)
    order: list[int] = []
    heard = UNHEARD
    while len(order) < len(made):
        # The next clip is the one before which just this was heard.
        (clip,) = [i for i in set(range(6)) - set(order) if _same(history.running(i), heard)]
        order.append(clip)
        moments = standardisation.moments("voice", voices[clip].astype(np.float32))
        assert moments is not None
        heard = remember(heard, {"voice": moments})
    # Memory was reached on the way: fading is the same too.
    assert heard["voice"].frames == MEMORY_FRAMES


def _same(one: SpeakerMoments, other: SpeakerMoments) -> bool:
    if not one or not other:
        return not one and not other
    pairs = [(m.frames, *m.total, *m.squares) for m in (one["voice"], other["voice"])]
    return bool(np.allclose(*pairs))
