"""What is scored: what raters agreed on, under one id in every view."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyData, tiny_data
from trainer.corpora.goemotions import load_goemotions
from trainer.errors import CorpusError
from trainer.evaluation_sets import EvaluationSets, evaluation_sets, transcripts
from trainer.feature_policy import store_spec
from trainer.features import FeatureStore
from trainer.recipe import load_recipe


def sets_of(data: TinyData, corpus: str, **options: object) -> EvaluationSets:
    spec = data.spec("unused")
    return evaluation_sets(spec.recipe, spec.corpora, spec.features, corpus, **options)


@pytest.fixture(scope="module")
def on_the_phone(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """Data of which a telephone view is stored too, all but one clip of it: every frame twice that of the clean one."""
    data = tiny_data(tmp_path_factory.mktemp("phone"))
    clean, telephone = (store_spec("prosody", stride=8, view=view) for view in ("clean", "telephone"))
    source = FeatureStore.open(data.features / clean.folder, clean)
    with FeatureStore.open(data.features / telephone.folder, telephone) as store:
        for name in source:
            if name != data.ids[LINES][0]:
                store.append(name, 2 * source.get(name).astype(np.float32))
    return data


def test_only_what_people_agreed_on_is_scored_and_the_rest_is_counted(tiny: TinyData) -> None:
    sets = sets_of(tiny, VOICES)
    assert len(sets.first) == 64
    assert not sets.first.ambiguous.any()
    assert sets.notes == ["Not scored: 8 whose raters' votes leave no single strongest class."]


@pytest.mark.parametrize(("split", "count"), [("test", 3), ("train", 32), (None, 35)])
def test_a_split_may_be_asked_for(tiny: TinyData, split: str | None, count: int) -> None:
    assert len(sets_of(tiny, COMMENTS, split=split).first) == count


def test_an_empty_split_is_named(tiny: TinyData) -> None:
    with pytest.raises(CorpusError, match="voices has no utterance to evaluate on in split test"):
        sets_of(tiny, VOICES, split="test")


def test_an_utterance_has_the_same_id_in_every_view(on_the_phone: TinyData) -> None:
    views = sets_of(on_the_phone, VOICES, views=("clean", "telephone")).views
    assert list(views) == ["clean", "telephone"]
    clean, telephone = views.values()
    assert clean.positions == telephone.positions
    for one, other in zip(clean.examples, telephone.examples, strict=True):
        heard, altered = (np.asarray(e.features["prosody"], dtype=np.float32) for e in (one, other))
        np.testing.assert_allclose(altered, 2 * heard, rtol=1e-2, atol=1e-2)
        np.testing.assert_array_equal(one.features["text"], other.features["text"])


def test_what_lacks_features_in_a_view_is_counted(on_the_phone: TinyData) -> None:
    sets = sets_of(on_the_phone, LINES, views=("telephone", "clean"))
    assert {view: len(data) for view, data in sets.views.items()} == {"telephone": 17, "clean": 18}
    assert "Not scored in view telephone: 1 of which no features are stored." in sets.notes


def test_text_is_the_same_in_a_view_without_a_clean_one(on_the_phone: TinyData) -> None:
    (words,) = sets_of(on_the_phone, COMMENTS, views=("telephone",)).views.values()
    assert len(words) == 35
    assert {e.id for e in words.examples} <= set(on_the_phone.ids[COMMENTS])


def test_a_comment_with_several_labels_is_scored_where_one_class_leads(tiny: TinyData, tmp_path: Path) -> None:
    comments = tmp_path / "corpora" / "goemotions"
    comments.mkdir(parents=True)
    # 17 joy and 0 admiration are happy, 2 anger, 25 sadness.
    lines = ["One\t17\ta", "Two of one class\t17,0\tb", "Two against one\t17,0,2\tc", "One each\t2,25\td"]
    (comments / "test.tsv").write_text("\n".join(lines))
    recipe = load_recipe(tiny.recipe_file)
    spec = store_spec("minilm-l6")
    with FeatureStore.open(tmp_path / "features" / spec.folder, spec) as store:
        for utterance in load_goemotions(comments).utterances:
            store.append(utterance.id, np.ones((2, 384), np.float32))
    sets = evaluation_sets(recipe, tmp_path / "corpora", tmp_path / "features", "goemotions", split="test")
    scored = {e.id: recipe.labels[truth] for e, truth in zip(sets.first.examples, sets.first.dominant, strict=True)}
    assert scored == {f"goemotions/{name}": "happy" for name in "abc"}
    assert sets.ambiguous == 1


def test_transcripts_are_joined_by_id(tiny: TinyData, tmp_path: Path) -> None:
    recipe = load_recipe(tiny.recipe_file)
    assert transcripts(recipe, tiny.corpora, VOICES) == dict.fromkeys(tiny.ids[VOICES], "what was said")
    assert transcripts(recipe, tiny.corpora, LINES) == {}
    shutil.copytree(tiny.corpora / COMMENTS, tmp_path / COMMENTS)
    assert set(transcripts(recipe, tmp_path, COMMENTS).values()) == {"what was written"}
