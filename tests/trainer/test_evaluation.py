"""Evaluation: nobody is scored by what heard them, and everybody is scored once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.emotions import LabelSet
from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyData, TinyRun
from trainer import evaluation, running, stages
from trainer.assembly import RunSpec, assemble
from trainer.errors import CorpusError, RecipeError
from trainer.evaluation import (
    Scored,
    evaluate_bundle,
    evaluate_folds,
    evaluate_left_out,
    evaluation_set,
    present_labels,
    soft_voting,
)
from trainer.export import export_bundle
from trainer.recipe import Recipe
from trainer.running import Execution
from trainer.splits import Split
from trainer.stages import score

MODELS = ["ensemble", "both", "voice", "words"]


@pytest.fixture
def assembled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunSpec, Split]]:
    """Every split that stages trained on, in order."""
    seen: list[tuple[RunSpec, Split]] = []

    def watching(spec: RunSpec) -> Split:
        split = assemble(spec)
        seen.append((spec, split))
        return split

    monkeypatch.setattr(running, "assemble", watching)
    return seen


@pytest.fixture(scope="module")
def quick(tiny: TinyData) -> Recipe:
    """One member of one epoch: these tests ask who is heard, not how well."""
    recipe = tiny.spec("unused").recipe
    still = {"learning_rate": 1e-3, "epochs": 0}
    changes = {
        "members": [m.model_dump() for m in recipe.members if m.name == "both"],
        "stage1": {**still, "epochs": 1},
        "stage2": still,
        "meta": {"runs": 2, "full": still, "balanced": still},
        "development_share": 0.5,
    }
    return Recipe.model_validate({**recipe.model_dump(), **changes})


@pytest.fixture(scope="module")
def bundle(whole_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return export_bundle(whole_run.trained, whole_run.spec, folder, name="tiny", licence="CC0-1.0", metrics={})


def _number(clip: str) -> int:
    """A number that no other clip of the corpus has, from an id such as `voices/s3-7`."""
    speaker, _, number = clip.rpartition("s")[2].partition("-")
    return 100 * int(speaker) + int(number)


def everybody(split: Split) -> set[str]:
    return {e.speaker for side in (split.train, split.development) for e in side.examples}


class TestFolds:
    def test_no_speaker_is_scored_by_an_ensemble_that_heard_them(
        self, tiny: TinyData, quick: Recipe, tmp_path: Path, assembled: list[tuple[RunSpec, Split]]
    ) -> None:
        said: list[str] = []
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        scored, data = evaluate_folds(spec, VOICES, 2, execution=Execution(device="cpu"), started=said.append)
        speakers = {f"{VOICES}/s{i}" for i in range(8)}
        tested = [speakers - everybody(split) for _, split in assembled]
        assert tested[0] | tested[1] == speakers
        assert not tested[0] & tested[1]
        assert said == [f"fold {n} of 2: trained without 4 speakers of {VOICES}" for n in (1, 2)]
        for (run, split), fold in zip(assembled, tested, strict=True):
            assert {s for e in run.excluded for s in e.speakers} == fold
            assert {e.corpus for e in split.train.examples} == {VOICES, LINES, COMMENTS}

        assert sorted(scored.ids) == sorted(e.id for e in data.examples)
        assert len(scored.ids) == len(set(scored.ids)) == 64

    def test_scores_and_truth_are_joined_by_example(
        self, tiny: TinyData, quick: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Instead of an ensemble, something that says of every example which it is.
        def naming(_trained: object, data: evaluation.TrainingSet) -> stages.EnsembleScores:
            named = np.array([[_number(e.id), 0, 0, 0] for e in data.examples], dtype=np.float32)
            return stages.EnsembleScores(named, np.zeros((len(data), 3), np.float32), {"both": -named})

        monkeypatch.setattr(evaluation, "run_stages", lambda *_, **__: None)
        monkeypatch.setattr(evaluation, "score", naming)
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        scored, data = evaluate_folds(spec, VOICES, 3, execution=Execution(device="cpu"), started=lambda _: None)
        assert scored.probabilities["ensemble"][:, 0].tolist() == [_number(i) for i in scored.ids]
        assert scored.probabilities["both"][:, 0].tolist() == [-_number(i) for i in scored.ids]
        truth = {e.id: (int(e.target.argmax()), e.speaker) for e in data.examples}
        assert [truth[i] for i in scored.ids] == list(zip(scored.true.tolist(), scored.speakers, strict=True))

    def test_more_folds_than_speakers_are_refused(self, tiny: TinyData, quick: Recipe, tmp_path: Path) -> None:
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        with pytest.raises(RecipeError, match="8 speakers cannot be dealt into 9 folds"):
            evaluate_folds(spec, VOICES, 9, execution=Execution(device="cpu"), started=lambda _: None)


class TestLeavingOut:
    def test_nothing_of_the_corpus_is_heard(
        self, tiny: TinyData, quick: Recipe, tmp_path: Path, assembled: list[tuple[RunSpec, Split]]
    ) -> None:
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        scored, _ = evaluate_left_out(spec, LINES, execution=Execution(device="cpu"), started=lambda _: None)
        ((_, split),) = assembled
        assert not [s for s in everybody(split) if s.startswith(LINES)]
        assert {i.partition("/")[0] for i in scored.ids} == {LINES}
        assert len(scored.ids) == 18

    def test_it_is_scored_over_the_classes_it_has(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = whole_run.spec
        data = evaluation_set(spec.recipe, spec.corpora, spec.features, LINES)
        present = present_labels(data)
        assert present == LabelSet(("angry", "sad", "neutral"))
        wrong = np.tile([0.1, 0.0, 0.9, 0.0], (len(data), 1))
        scored = Scored([e.id for e in data.examples], [e.speaker for e in data.examples], data.dominant, {"m": wrong})
        (result,) = scored.measured(data.labels, present)
        # What it wanted to say of the class that is not there does not count: angry is left.
        assert result.accuracy == pytest.approx(1 / 3)
        assert result.labels == present


class TestSets:
    def test_only_what_people_agreed_on_is_scored(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        data = evaluation_set(spec.recipe, spec.corpora, spec.features, VOICES)
        assert len(data) == 64
        assert not data.ambiguous.any()

    @pytest.mark.parametrize(("split", "count"), [("test", 3), ("train", 32), (None, 35)])
    def test_a_split_may_be_asked_for(self, tiny: TinyData, split: str | None, count: int) -> None:
        spec = tiny.spec("unused")
        assert len(evaluation_set(spec.recipe, spec.corpora, spec.features, COMMENTS, split=split)) == count

    def test_an_empty_split_is_named(self, tiny: TinyData) -> None:
        spec = tiny.spec("unused")
        with pytest.raises(CorpusError, match="voices has no utterance to evaluate on in split test"):
            evaluation_set(spec.recipe, spec.corpora, spec.features, VOICES, split="test")


class TestBundles:
    @pytest.mark.parametrize("corpus", [VOICES, LINES, COMMENTS])
    def test_a_bundle_scores_as_the_run_it_came_from(self, whole_run: TinyRun, bundle: Bundle, corpus: str) -> None:
        spec = whole_run.spec
        data = evaluation_set(spec.recipe, spec.corpora, spec.features, corpus)
        scored = evaluate_bundle(bundle, data)
        expected = score(whole_run.trained, data)
        assert list(scored.probabilities) == MODELS
        assert scored.ids == [e.id for e in data.examples]
        # Members' matrices are stored in half precision, and temperature sharpens the difference.
        np.testing.assert_allclose(scored.probabilities["ensemble"], expected.probabilities, atol=0.05)
        for name in MODELS[1:]:
            np.testing.assert_allclose(scored.probabilities[name], expected.members[name], atol=0.01)

    def test_what_was_heard_before_counts(self, whole_run: TinyRun, bundle: Bundle) -> None:
        spec = whole_run.spec
        data = evaluation_set(spec.recipe, spec.corpora, spec.features, VOICES)
        one = data.select(np.flatnonzero([e.speaker == f"{VOICES}/s0" for e in data.examples]))
        together = evaluate_bundle(bundle, one).probabilities["voice"]
        alone = np.concatenate(
            [evaluate_bundle(bundle, one.select(np.array([i]))).probabilities["voice"] for i in range(len(one))]
        )
        same = np.isclose(together, alone, atol=1e-4).all(axis=1)
        assert same.sum() == 1


def test_soft_voting_is_the_mean_of_the_members() -> None:
    one, other = np.array([[0.8, 0.2]]), np.array([[0.4, 0.6]])
    scored = Scored(["a"], ["s"], np.array([0]), {"ensemble": np.array([[0.0, 1.0]]), "m1": one, "m2": other})
    np.testing.assert_allclose(soft_voting(scored), [[0.6, 0.4]])
