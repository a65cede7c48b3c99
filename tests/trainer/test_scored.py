from __future__ import annotations

import numpy as np
import pytest

from models.emotions import LabelSet
from models.errors import FeatureError
from tests.fakes.evaluations import MODELS, scored_set
from tests.fakes.runs import COMMENTS, VOICES, TinyData
from trainer.evaluation_sets import evaluation_sets
from trainer.recipe import Recipe
from trainer.scored import joined, speech_seconds


def test_it_is_scored_over_the_classes_it_has() -> None:
    whole = scored_set(labels=3)
    kept = whole.restricted(whole.present)
    assert kept.labels == LabelSet(("angry", "sad", "happy"))
    for name, values in kept.probabilities.items():
        expected = whole.probabilities[name][:, :3]
        np.testing.assert_allclose(values, expected / expected.sum(axis=1, keepdims=True))
    assert [kept.labels.names[i] for i in kept.true] == [whole.labels.names[i] for i in whole.true]


def test_what_it_wanted_to_say_of_a_class_that_is_not_there_does_not_count() -> None:
    whole = scored_set(4, labels=2)
    whole.probabilities["ensemble"][:] = [0.1, 0.0, 0.9, 0.0]
    result = whole.restricted(whole.present).measured()[0]
    assert result.accuracy == 0.5
    assert result.labels == LabelSet(("angry", "sad"))


def test_a_class_that_is_there_cannot_be_left_out() -> None:
    with pytest.raises(FeatureError, match="'neutral'"):
        scored_set().restricted(LabelSet(("angry", "sad", "happy")))


def test_only_the_ensemble_has_a_threshold() -> None:
    results = scored_set().measured()
    assert [result.name for result in results] == list(MODELS)
    assert [result.name for result in results if result.abstention is not None] == ["ensemble"]


def test_members_are_what_is_neither_ensemble_nor_aggregation() -> None:
    assert scored_set().members == ("voice", "words")


def test_sets_are_joined_over_the_models_that_all_have() -> None:
    first, second = scored_set(8, corpus="one"), scored_set(4, corpus="two", seed=1)
    del second.probabilities["SVM on scores"]
    both = joined([first, second])
    assert both.ids == [*first.ids, *second.ids]
    assert both.speakers == [*first.speakers, *second.speakers]
    assert list(both.probabilities) == [name for name in MODELS if name != "SVM on scores"]
    for position, values in (("ensemble", both.probabilities["ensemble"]),):
        np.testing.assert_array_equal(values[:8], first.probabilities[position])
        np.testing.assert_array_equal(values[8:], second.probabilities[position])
    np.testing.assert_array_equal(both.true, [*first.true, *second.true])
    np.testing.assert_array_equal(both.speech_s, [*first.speech_s, *second.speech_s])


def test_what_is_selected_stays_together() -> None:
    whole = scored_set(8)
    some = whole.select([5, 2])
    assert some.ids == [whole.ids[5], whole.ids[2]]
    np.testing.assert_array_equal(some.probabilities["words"], whole.probabilities["words"][[5, 2]])
    np.testing.assert_array_equal(some.true, whole.true[[5, 2]])
    np.testing.assert_array_equal(some.abstain_below, whole.abstain_below[[5, 2]])


class TestSpeechSeconds:
    def test_it_is_the_stored_frames_less_half_of_the_last_group(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        data = evaluation_sets(spec.recipe, spec.corpora, spec.features, VOICES).first
        frames = np.array([e.features["prosody"].shape[0] for e in data.examples])
        # Eight frames of 20 ms are averaged into one.
        np.testing.assert_allclose(speech_seconds(data, spec.recipe), (frames - 0.5) * 0.16)

    def test_the_stream_with_the_most_frames_a_second_says_it_best(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        data = evaluation_sets(spec.recipe, spec.corpora, spec.features, VOICES).first
        values = spec.recipe.model_dump()
        values["modalities"] = {
            "prosody": values["modalities"]["prosody"],
            "coarse": {"backbone": "prosody", "stride": 16},
        }
        values["members"] = [{**values["members"][0], "modalities": ["prosody", "coarse"]}]
        for e in data.examples:
            assert isinstance(e.features, dict)
            e.features["coarse"] = np.zeros((50, 26), np.float16)
        found = speech_seconds(data, Recipe.model_validate(values))
        np.testing.assert_allclose(found, speech_seconds(data, spec.recipe))

    def test_text_has_none(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        data = evaluation_sets(spec.recipe, spec.corpora, spec.features, COMMENTS).first
        assert np.isnan(speech_seconds(data, spec.recipe)).all()
