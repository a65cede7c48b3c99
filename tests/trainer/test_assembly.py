"""From corpora and stored features to examples: joined by id, nobody heard who must not be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.emotions import MSP8, Attributes
from tests.fakes.corpora import utterance, write_tone
from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyData, tiny_data
from trainer.assembly import Excluded, RunSpec, assemble, examples_of, fingerprint_of, load_utterances, may_train_on
from trainer.attribute_norms import attributes_of
from trainer.corpora.manifest import Utterance
from trainer.errors import CorpusError
from trainer.feature_library import FeatureLibrary
from trainer.feature_policy import store_spec
from trainer.features import FeatureStore
from trainer.recipe import Recipe, parse_recipe
from trainer.splits import Split

STAGE = {"learning_rate": 1e-3, "epochs": 1}


def recipe(**changes: object) -> Recipe:
    values = {
        "name": "mine",
        "corpora": ["made_up"],
        "modalities": {"prosody": {"backbone": "prosody", "stride": 8}, "text": {"backbone": "minilm-l6"}},
        "speaker": {"prosody": {"memory_frames": 9}},
        "members": [{"name": "a", "modalities": ["prosody", "text"]}],
        "stage1": STAGE,
        "stage2": STAGE,
        "meta": {"full": STAGE, "balanced": STAGE},
    }
    return parse_recipe({**values, **changes}, "test")


def store(folder: Path, modality: str, features: dict[str, float], *, view: str = "clean") -> None:
    """Two frames filled with a value, by id."""
    name, stride = {"prosody": ("prosody", 8), "text": ("minilm-l6", 1)}[modality]
    spec = store_spec(name, stride=stride, view=view)
    with FeatureStore.open(folder / spec.folder, spec) as opened:
        for key, value in features.items():
            opened.append(f"made_up/{key}", np.full((2, spec.dim), value, np.float32))


def library(folder: Path, chosen: Recipe) -> FeatureLibrary:
    return FeatureLibrary(folder, chosen.modalities, chosen.views)


@pytest.fixture
def spoken(tmp_path: Path) -> list[Utterance]:
    clip = write_tone(tmp_path / "clip.wav")
    return [utterance(name, audio=clip, label=label) for name, label in (("a", "sad"), ("b", "angry"), ("c", "happy"))]


class TestExamples:
    def test_features_are_joined_by_id_whatever_the_order_of_either(
        self, tmp_path: Path, spoken: list[Utterance]
    ) -> None:
        store(tmp_path, "prosody", {"c": 3, "a": 1, "b": 2})
        store(tmp_path, "text", {"b": 20, "c": 30, "a": 10})
        chosen = recipe()
        for order in ((0, 1, 2), (2, 0, 1)):
            found = {e.id: e for e in examples_of([spoken[i] for i in order], chosen, library(tmp_path, chosen))}
            for name, value, label in (("a", 1, "sad"), ("b", 2, "angry"), ("c", 3, "happy")):
                e = found[f"made_up/{name}"]
                assert e.features["prosody"] is not None
                assert e.features["text"] is not None
                assert (e.features["prosody"][0, 0], e.features["text"][0, 0]) == (value, 10 * value)
                assert e.target[MSP8.index(label)] == 1

    def test_an_example_may_be_of_the_classes_its_corpus_tells_of(
        self, tmp_path: Path, spoken: list[Utterance]
    ) -> None:
        store(tmp_path, "prosody", {"a": 1, "b": 2, "c": 3})
        store(tmp_path, "text", {})
        other = replace(spoken[0], id="other/a", corpus="other")
        told = np.isin(MSP8.names, ["sad", "angry", "happy"])
        chosen = recipe()
        for example in examples_of([*spoken, other], chosen, library(tmp_path, chosen)):
            assert example.possible is not None
            assert (example.possible == told).all()
        free = recipe(restricted_softmax=False)
        assert [e.possible for e in examples_of(spoken, free, library(tmp_path, free))] == [None] * 3

    def test_a_corpus_of_one_class_is_told_of(
        self, tmp_path: Path, spoken: list[Utterance], caplog: pytest.LogCaptureFixture
    ) -> None:
        store(tmp_path, "prosody", {"a": 1})
        store(tmp_path, "text", {})
        chosen = recipe()
        examples_of(spoken[:1], chosen, library(tmp_path, chosen))
        assert "made_up tells of one class alone" in caplog.text

    def test_a_modality_that_is_not_stored_is_missing(self, tmp_path: Path, spoken: list[Utterance]) -> None:
        store(tmp_path, "prosody", {"a": 1})
        store(tmp_path, "text", {"b": 2})
        chosen = recipe()
        found = examples_of(spoken, chosen, library(tmp_path, chosen))
        assert [(e.id, [m for m, f in e.features.items() if f is not None]) for e in found] == [
            ("made_up/a", ["prosody"]),
            ("made_up/b", ["text"]),
        ]

    def test_where_nothing_is_stored_it_says_what_to_run(self, tmp_path: Path, spoken: list[Utterance]) -> None:
        chosen = recipe()
        with pytest.raises(CorpusError, match="run medusa features extract first"):
            examples_of(spoken, chosen, library(tmp_path, chosen))

    def test_moments_are_of_the_modalities_the_recipe_standardises(
        self, tmp_path: Path, spoken: list[Utterance]
    ) -> None:
        store(tmp_path, "prosody", {"a": 3})
        store(tmp_path, "text", {"a": 4})
        chosen = recipe()
        (found,) = examples_of(spoken[:1], chosen, library(tmp_path, chosen))
        assert list(found.moments) == ["prosody"]
        assert (found.moments["prosody"].total[0], found.moments["prosody"].memory_frames) == (6, 9)

    def test_every_view_of_a_clip_is_an_example_and_a_text_is_one(
        self, tmp_path: Path, spoken: list[Utterance]
    ) -> None:
        store(tmp_path, "prosody", {"a": 1})
        store(tmp_path, "prosody", {"a": 5}, view="telephone")
        store(tmp_path, "text", {"a": 2, "t": 7})
        chosen = recipe(views=["clean", "telephone"])
        given = [spoken[0], utterance("t", text="only text")]
        found = examples_of(given, chosen, library(tmp_path, chosen), chosen.views)
        assert [(e.id, e.spoken) for e in found] == [
            ("made_up/a", True),
            ("made_up/a@telephone", True),
            ("made_up/t", False),
        ]
        assert found[1].features["prosody"] is not None
        assert found[1].features["prosody"][0, 0] == 5


class TestAttributes:
    RATED = Attributes(arousal=2.0, valence=6.5, dominance=3.0)

    def given(self, tmp_path: Path, chosen: Recipe, rated: Attributes | None) -> np.ndarray | None:
        store(tmp_path, "text", {"a": 1})
        (found,) = examples_of(
            [replace(utterance("a", label="sad"), attributes=rated)], chosen, library(tmp_path, chosen)
        )
        return found.attributes

    @pytest.mark.parametrize("norms", [True, False])
    def test_ratings_are_taken_as_they_are(self, tmp_path: Path, norms: bool) -> None:
        found = self.given(tmp_path, recipe(attribute_norms=norms), self.RATED)
        np.testing.assert_array_equal(found, [2.0, 6.5, 3.0])

    def test_norms_stand_in_where_nobody_rated(self, tmp_path: Path) -> None:
        found = self.given(tmp_path, recipe(), None)
        np.testing.assert_array_equal(found, attributes_of(utterance("a", label="sad").target, MSP8))

    def test_without_norms_they_stay_unknown(self, tmp_path: Path) -> None:
        assert self.given(tmp_path, recipe(attribute_norms=False), None) is None


class TestExcluding:
    ONE = replace(utterance("a", corpus="c"), speaker="c/one")

    @pytest.mark.parametrize(
        ("excluded", "covered"),
        [
            (Excluded("c"), True),
            (Excluded("other"), False),
            (Excluded("c", ("c/one", "c/two")), True),
            (Excluded("c", ("c/two",)), False),
            (Excluded("other", ("c/one",)), False),
        ],
    )
    def test_a_corpus_or_some_of_its_speakers(self, excluded: Excluded, covered: bool) -> None:
        assert excluded.covers(self.ONE) is covered

    @pytest.mark.parametrize(
        ("split", "allowed"), [("test", False), ("development", True), ("train", True), (None, True)]
    )
    def test_what_a_corpus_sets_aside_for_testing_is_not_trained_on(
        self, tiny: TinyData, split: str | None, allowed: bool
    ) -> None:
        assert may_train_on(replace(self.ONE, split=split), tiny.spec("unused")) is allowed


def ids(split: Split) -> set[str]:
    return {e.id for side in (split.train, split.development) for e in side.examples}


def without(spec: RunSpec, *excluded: Excluded) -> RunSpec:
    return replace(spec, excluded=excluded)


class TestAssembling:
    def test_everything_but_what_is_set_aside_for_testing_is_in_it(self, tiny: TinyData) -> None:
        assembled = ids(assemble(tiny.spec("unused")))
        tests = {f"{COMMENTS}/c{n}" for n in (9, 19, 29, 39)}
        assert assembled == {i for corpus in tiny.ids.values() for i in corpus} - tests

    def test_nobody_is_on_both_sides(self, tiny: TinyData) -> None:
        split = assemble(tiny.spec("unused"))
        assert not {e.speaker for e in split.train.examples} & {e.speaker for e in split.development.examples}
        assert {e.corpus for e in split.development.examples} == {VOICES, COMMENTS}

    def test_what_is_excluded_is_on_neither(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        speakers = (f"{VOICES}/s1", f"{VOICES}/s4")
        left = assemble(without(spec, Excluded(LINES), Excluded(VOICES, speakers)))
        found = [e for side in (left.train, left.development) for e in side.examples]
        assert not [e.id for e in found if e.corpus == LINES or e.speaker in speakers]
        assert {e.speaker for e in found if e.corpus == VOICES} == {f"{VOICES}/s{i}" for i in (0, 2, 3, 5, 6, 7)}

    def test_speaker_priors_come_from_the_training_side_alone(self, tiny: TinyData) -> None:
        split = assemble(tiny.spec("unused"))
        heard = np.concatenate(
            [np.asarray(e.features["prosody"], np.float64) for e in split.train.examples if e.spoken]
        )
        prior = split.train.standardisation.priors["prosody"]
        np.testing.assert_allclose(prior.mean, heard.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(prior.deviation, heard.std(axis=0), atol=1e-9)
        assert split.development.standardisation is split.train.standardisation

    def test_a_first_clip_of_development_is_brought_relative_to_the_prior(self, tiny: TinyData) -> None:
        development = assemble(tiny.spec("unused")).development
        prior = development.standardisation.priors["prosody"]
        speaker = next(e.speaker for e in development.examples if e.spoken)
        matches = 0
        for i in [i for i, e in enumerate(development.examples) if e.speaker == speaker]:
            raw = np.asarray(development.examples[i].features["prosody"], np.float32)
            found = development.collate(np.array([i]), ("prosody",)).inputs["prosody"][0].numpy()
            matches += np.allclose(found, prior.standardise(raw, None), atol=1e-5)
        assert matches == 1

    def test_chosen_by_is_the_clean_view_alone_and_trained_on_are_all(self, tmp_path: Path) -> None:
        data = tiny_data(tmp_path)
        spec = data.spec("unused")
        clean, telephone = (store_spec("prosody", stride=8, view=view) for view in ("clean", "telephone"))
        with FeatureStore.open(data.features / telephone.folder, telephone) as views:
            source = FeatureStore.open(data.features / clean.folder, clean)
            for name in source:
                views.append(name, source.get(name).astype(np.float32))
        chosen = Recipe.model_validate({**spec.recipe.model_dump(), "views": ("clean", "telephone")})
        split = assemble(replace(spec, recipe=chosen))
        assert not [e.id for e in split.development.examples if e.id.endswith("@telephone")]
        spoken = [e.id for e in split.train.examples if e.spoken]
        assert sum(name.endswith("@telephone") for name in spoken) == len(spoken) / 2 > 0
        assert split.for_meta is split.development

        meta = {**chosen.meta.model_dump(), "views": ("clean", "telephone")}
        wide = assemble(replace(spec, recipe=Recipe.model_validate({**chosen.model_dump(), "meta": meta})))
        assert ids(Split(wide.train, wide.development)) == ids(Split(split.train, split.development))
        heard = [e for e in wide.for_meta.examples if e.spoken]
        assert {e.speaker for e in heard} == {e.speaker for e in split.development.examples if e.spoken}
        assert {e.view for e in heard} == {"clean", "telephone"}
        assert fingerprint_of(wide, chosen) != fingerprint_of(split, chosen)

    def test_an_id_with_an_at_sign_is_still_chosen_by(self, tmp_path: Path) -> None:
        data = tiny_data(tmp_path, sign="@")
        split = assemble(data.spec("unused"))
        assert any(e.corpus == VOICES for e in split.development.examples)

    def test_a_corpus_that_is_not_there_is_named(self, tiny: TinyData, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="voices"):
            load_utterances(tiny.spec("unused").recipe, tmp_path)


class TestFingerprint:
    def test_the_same_data_has_the_same_wherever_it_lies(self, tiny: TinyData, tmp_path: Path) -> None:
        specs = [tiny.spec("unused"), tiny_data(tmp_path).spec("unused")]
        one, other = (fingerprint_of(assemble(spec), spec.recipe) for spec in specs)
        assert one == other

    def test_other_examples_sides_or_strides_have_another(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        split = assemble(spec)
        coarser = Recipe.model_validate(
            {
                **spec.recipe.model_dump(),
                "modalities": {"prosody": {"backbone": "prosody", "stride": 4}, "text": {"backbone": "minilm-l6"}},
            }
        )
        changed = split.train.examples[:]
        changed[0] = replace(changed[0], target=np.roll(changed[0].target, 1))
        found = [
            fingerprint_of(split, spec.recipe),
            fingerprint_of(split, coarser),
            fingerprint_of(Split(split.development, split.train), spec.recipe),
            fingerprint_of(assemble(without(spec, Excluded(LINES))), spec.recipe),
            fingerprint_of(
                Split(type(split.train)(changed, split.train.labels, split.train.dims), split.development), spec.recipe
            ),
        ]
        assert len(set(found)) == len(found)
