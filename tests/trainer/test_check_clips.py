"""Which clips a bundle carries to check engines on: evenly drawn, the same every time, of held-out speakers alone."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.backbones.registry import backbone
from models.backbones.tokens import Tokens
from models.errors import WeightsError
from models.modalities import SPECIAL_TOKENS
from models.speaker import SpeakerPrior, SpeakerStandardisation
from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.examples import DIMS, LABELS, example, frames
from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyRun
from trainer import check_clips
from trainer.assembly import assemble, load_utterances
from trainer.check_clips import choose_clips, draw_evenly
from trainer.corpora.manifest import Corpus
from trainer.dataset import TrainingSet
from trainer.recipe import Recipe


def drawn(data: TrainingSet, most: int, seed: int = 0) -> list[str]:
    everything = np.arange(len(data))
    return [data.examples[i].id for i in draw_evenly(data, everything, most, seed)]


def uneven_set() -> TrainingSet:
    """Two corpora, one ten times as large; of two classes in each one is rare."""
    made = [
        example(f"{corpus}/{label}-{number}", label, corpus=corpus, voice=frames(1.0))
        for corpus, counts in (("large", (60, 20)), ("small", (6, 2)))
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    return TrainingSet(made, LABELS, DIMS)


class TestDrawing:
    def test_every_corpus_and_class_has_its_turn(self) -> None:
        counts = Counter(name.rsplit("-", 1)[0] for name in drawn(uneven_set(), 14))
        assert counts == {"large/0": 4, "large/1": 4, "small/0": 4, "small/1": 2}

    def test_no_more_than_there_are(self) -> None:
        assert len(drawn(uneven_set(), 200)) == 88

    def test_the_same_for_a_seed_in_whatever_order_examples_lie(self) -> None:
        data = uneven_set()
        backwards = TrainingSet(data.examples[::-1], LABELS, DIMS)
        assert drawn(data, 20) == drawn(data, 20)
        assert sorted(drawn(backwards, 20)) == sorted(drawn(data, 20))
        assert drawn(data, 20, seed=1) != drawn(data, 20)

    def test_only_candidates_are_drawn(self) -> None:
        assert draw_evenly(uneven_set(), np.array([3, 70]), 10, 0).tolist() == [3, 70]


@pytest.fixture(scope="module")
def development(whole_run: TinyRun) -> TrainingSet:
    return whole_run.trained.development


@pytest.fixture(scope="module")
def corpora(whole_run: TinyRun) -> list[Corpus]:
    return load_utterances(whole_run.spec.recipe, whole_run.spec.corpora)


@pytest.fixture
def recipe(whole_run: TinyRun) -> Recipe:
    return whole_run.spec.recipe


class TestChoosing:
    def test_they_are_of_speakers_that_no_member_was_trained_on(
        self, whole_run: TinyRun, development: TrainingSet
    ) -> None:
        split = assemble(whole_run.spec)
        assert [e.id for e in development.examples] == [e.id for e in split.development.examples]
        assert not {e.speaker for e in development.examples} & {e.speaker for e in split.train.examples}

    def test_voices_and_comments_are_among_them(
        self, development: TrainingSet, recipe: Recipe, corpora: list[Corpus]
    ) -> None:
        found = choose_clips(development, recipe, corpora)
        assert found is not None
        assert len(found) == len(development)
        held = [
            (voice is not None, text is not None)
            for voice, text in zip(found.features["prosody"], found.tokens["text"], strict=True)
        ]
        by_corpus = {VOICES: (True, True), LINES: (True, False), COMMENTS: (False, True)}
        assert Counter(held) == Counter(by_corpus[e.corpus] for e in development.examples)

    def test_features_are_what_members_read(
        self, development: TrainingSet, recipe: Recipe, corpora: list[Corpus]
    ) -> None:
        found = choose_clips(development, recipe, corpora)
        assert found is not None
        batch = development.collate(np.arange(len(development)), ["prosody"])
        for position, clip in enumerate(found.features["prosody"]):
            length = int(batch.masks["prosody"][position].sum())
            assert (clip is None) == (length == 0)
            if clip is not None:
                assert clip.dtype == np.float16
                np.testing.assert_allclose(clip, batch.inputs["prosody"][position, :length], rtol=1e-3, atol=1e-4)

    def test_tokens_are_those_of_what_was_said(
        self, development: TrainingSet, recipe: Recipe, corpora: list[Corpus]
    ) -> None:
        found = choose_clips(development, recipe, corpora)
        assert found is not None
        tokeniser = Tokens(check_clips.backbone_folder(backbone("minilm-l6")))
        said = {u.id: u.text for corpus in corpora for u in corpus.utterances}
        for one, tokens in zip(development.examples, found.tokens["text"], strict=True):
            if tokens is not None:
                (expected,) = tokeniser.encode([said[one.id] or ""])
                np.testing.assert_array_equal(tokens, expected)
                assert tokens.size > SPECIAL_TOKENS

    def test_values_outside_half_precision_are_brought_to_its_edge(self, recipe: Recipe, corpora: list[Corpus]) -> None:
        one = replace(example("a", corpus=LINES), features={"prosody": frames(60, dim=26), "text": None})
        narrow = SpeakerPrior(np.zeros(26), np.full(26, 1e-6), weight_frames=1e6, memory_frames=1e6)
        standardisation = SpeakerStandardisation({"prosody": narrow})
        data = TrainingSet([one], recipe.label_set, {"prosody": 26, "text": 384}, standardisation)
        found = choose_clips(data, recipe, corpora)
        assert found is not None
        np.testing.assert_array_equal(found.features["prosody"][0], np.full((1, 26), 65504, np.float16))

    def test_what_has_lost_its_transcript_is_not_drawn_and_counted(
        self, development: TrainingSet, recipe: Recipe, corpora: list[Corpus], caplog: pytest.LogCaptureFixture
    ) -> None:
        left = [corpus for corpus in corpora if corpus.name != COMMENTS]
        lost = sum(e.corpus == COMMENTS for e in development.examples)
        with caplog.at_level(logging.WARNING):
            found = choose_clips(development, recipe, left)
        assert found is not None
        assert len(found) == len(development) - lost
        assert f"{lost} held-out utterances are not drawn from" in caplog.text

    def test_there_may_be_none(self, recipe: Recipe) -> None:
        assert choose_clips(TrainingSet([], recipe.label_set, {"prosody": 26, "text": 384}), recipe, []) is None


class TestWordsAsFeatures:
    def test_of_an_encoder_that_cannot_stand_inside_an_engine(
        self,
        development: TrainingSet,
        recipe: Recipe,
        corpora: list[Corpus],
        tmp_path: Path,
    ) -> None:
        """A checkpoint of one's own, which a bundle's reader does not find again."""
        folder = tiny_checkpoint("bert", tmp_path / "own", hidden_size=384, num_attention_heads=4)
        values = recipe.model_dump() | {
            "backbones": {"mine": {"folder": str(folder), "layers": 4}},
        }
        values["modalities"]["text"]["backbone"] = "mine"
        found = choose_clips(development, Recipe.model_validate(values), corpora)
        assert found is not None
        assert not found.tokens
        stored = [e.features["text"] for e in development.examples]
        assert [row is None for row in found.features["text"]] == [row is None for row in stored]

    def test_where_the_tokeniser_cannot_be_had_and_it_is_said(
        self,
        development: TrainingSet,
        recipe: Recipe,
        corpora: list[Corpus],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def offline(_: object) -> Path:
            raise WeightsError("no network")

        monkeypatch.setattr(check_clips, "backbone_folder", offline)
        with caplog.at_level(logging.WARNING):
            found = choose_clips(development, recipe, corpora)
        assert found is not None
        assert not found.tokens
        assert "hold features of text, not tokens" in caplog.text
        assert "no network" in caplog.text
