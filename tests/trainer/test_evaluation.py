"""Evaluation: nobody is scored by what heard them, and everybody is scored once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from tests.fakes.runs import COMMENTS, LINES, VOICES, TinyData, TinyRun
from trainer import evaluation, running, stages
from trainer.aggregation import AGGREGATIONS, HARD_VOTING, SOFT_VOTING, best_member, hard_voting, soft_voting
from trainer.assembly import RunSpec, assemble
from trainer.errors import MetricError, RecipeError
from trainer.evaluation import evaluate_bundle, evaluate_folds, evaluate_left_out, held_out_of
from trainer.evaluation_sets import EvaluationSets, evaluation_sets
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


def sets_of(spec: RunSpec, corpus: str) -> EvaluationSets:
    return evaluation_sets(spec.recipe, spec.corpora, spec.features, corpus)


class TestFolds:
    def test_no_speaker_is_scored_by_an_ensemble_that_heard_them(
        self, tiny: TinyData, quick: Recipe, tmp_path: Path, assembled: list[tuple[RunSpec, Split]]
    ) -> None:
        said: list[str] = []
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        sets = sets_of(spec, VOICES)
        evaluation = evaluate_folds(spec, VOICES, 2, sets, execution=Execution(device="cpu"), started=said.append)
        speakers = {f"{VOICES}/s{i}" for i in range(8)}
        tested = [speakers - everybody(split) for _, split in assembled]
        assert tested[0] | tested[1] == speakers
        assert not tested[0] & tested[1]
        assert said == [f"fold {n} of 2: trained without 4 speakers of {VOICES}" for n in (1, 2)]
        for (run, split), fold in zip(assembled, tested, strict=True):
            assert {s for e in run.excluded for s in e.speakers} == fold
            assert {e.corpus for e in split.train.examples} == {VOICES, LINES, COMMENTS}

        ids = evaluation.views["clean"].ids
        assert sorted(ids) == sorted(e.id for e in sets.first.examples)
        assert len(ids) == len(set(ids)) == 64
        assert evaluation.notes[0] == "Every speaker was scored by an ensemble trained without them."
        assert evaluation.notes[1].endswith("not on what is scored: both (2).")

    def test_scores_and_truth_are_joined_by_example_in_every_view(
        self, tiny: TinyData, quick: Recipe, whole_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Instead of an ensemble, something that says of every example which it is.
        def naming(_trained: object, data: evaluation.TrainingSet) -> stages.EnsembleScores:
            named = np.array([[_number(e.id), 1, 0, 0] for e in data.examples], dtype=np.float32)
            return stages.EnsembleScores(
                named, np.zeros((len(data), 3), np.float32), dict.fromkeys(MODELS[1:], named), named
            )

        trained: list[RunSpec] = []
        monkeypatch.setattr(
            evaluation, "run_stages", lambda spec, *_, **__: (trained.append(spec), whole_run.trained)[1]
        )
        monkeypatch.setattr(evaluation, "score", naming)
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        clean = sets_of(spec, VOICES).first
        # Another view in another order, which lacks a clip.
        other = clean.select(np.arange(len(clean))[:0:-1])
        sets = EvaluationSets({"clean": clean, "telephone": other}, 0, {})
        found = evaluate_folds(spec, VOICES, 3, sets, execution=Execution(device="cpu"), started=lambda _: None).views
        truth = {e.id: (int(e.target.argmax()), e.speaker) for e in clean.examples}
        assert len(trained) == 3
        assert {view: len(scored.ids) for view, scored in found.items()} == {"clean": 64, "telephone": 63}
        for scored in found.values():
            assert scored.probabilities["ensemble"][:, 0].tolist() == [_number(i) for i in scored.ids]
            assert [truth[i] for i in scored.ids] == list(zip(scored.true.tolist(), scored.speakers, strict=True))

    def test_more_folds_than_speakers_are_refused(self, tiny: TinyData, quick: Recipe, tmp_path: Path) -> None:
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        with pytest.raises(RecipeError, match="8 speakers cannot be dealt into 9 folds"):
            evaluate_folds(
                spec, VOICES, 9, sets_of(spec, VOICES), execution=Execution(device="cpu"), started=lambda _: None
            )


class TestLeavingOut:
    def test_nothing_of_the_corpus_is_heard(
        self, tiny: TinyData, quick: Recipe, tmp_path: Path, assembled: list[tuple[RunSpec, Split]]
    ) -> None:
        spec = replace(tiny.spec("unused", quick), folder=tmp_path)
        evaluation = evaluate_left_out(
            spec, LINES, sets_of(spec, LINES), execution=Execution(device="cpu"), started=lambda _: None
        )
        ((_, split),) = assembled
        assert not [s for s in everybody(split) if s.startswith(LINES)]
        ids = evaluation.views["clean"].ids
        assert {i.partition("/")[0] for i in ids} == {LINES}
        assert len(ids) == 18


class TestAggregations:
    @pytest.fixture
    def evaluated(self, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> evaluation.Evaluation:
        """The whole run, as if it had been trained without the corpus."""
        monkeypatch.setattr(evaluation, "run_stages", lambda *_, **__: whole_run.trained)
        spec = whole_run.spec
        return evaluate_left_out(
            spec, VOICES, sets_of(spec, VOICES), execution=Execution(device="cpu"), started=lambda _: None
        )

    def test_all_stand_beside_ensemble_and_members(self, evaluated: evaluation.Evaluation) -> None:
        scored = evaluated.views["clean"]
        assert list(scored.probabilities) == [*MODELS, *AGGREGATIONS]
        assert scored.members == ("both", "voice", "words")
        for values in scored.probabilities.values():
            np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)

    def test_each_is_made_of_the_members_posteriors(self, whole_run: TinyRun, evaluated: evaluation.Evaluation) -> None:
        probabilities = evaluated.views["clean"].probabilities
        members = np.stack([probabilities[name] for name in MODELS[1:]], axis=1)
        np.testing.assert_allclose(probabilities[SOFT_VOTING], soft_voting(members), atol=1e-6)
        np.testing.assert_allclose(probabilities[HARD_VOTING], hard_voting(members), atol=1e-6)
        data = sets_of(whole_run.spec, VOICES).first
        np.testing.assert_allclose(
            probabilities["single meta-classifier"], score(whole_run.trained, data).single, atol=1e-6
        )

    def test_the_best_member_is_the_best_on_held_out_speech(
        self, whole_run: TinyRun, evaluated: evaluation.Evaluation
    ) -> None:
        held_out = held_out_of(whole_run.trained)
        best = MODELS[1:][best_member(held_out.of_kind(np.array([True])))]
        probabilities = evaluated.views["clean"].probabilities
        np.testing.assert_array_equal(probabilities["best member"], probabilities[best])
        assert evaluated.notes[1].endswith(f"not on what is scored: {best}.")

    def test_held_out_posteriors_are_those_of_the_members_where_raters_agreed(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        held_out = held_out_of(whole_run.trained)
        agreed = np.flatnonzero(~development.ambiguous)
        assert 0 < agreed.size < len(development)
        assert held_out.true.tolist() == development.dominant[agreed].tolist()
        assert list(held_out.speakers) == [development.examples[i].speaker for i in agreed]
        members = score(whole_run.trained, development).members
        for column, name in enumerate(MODELS[1:]):
            np.testing.assert_allclose(held_out.posteriors[:, column], members[name][agreed], atol=1e-3)

    def test_where_no_machine_can_be_fitted_the_report_says_so(
        self, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cannot(_held_out: object) -> None:
            raise MetricError("there is one class")

        monkeypatch.setattr(evaluation.ScoreSVM, "fit", cannot)
        monkeypatch.setattr(evaluation, "run_stages", lambda *_, **__: whole_run.trained)
        spec = whole_run.spec
        found = evaluate_left_out(
            spec, LINES, sets_of(spec, LINES), execution=Execution(device="cpu"), started=lambda _: None
        )
        assert "SVM on scores" not in found.views["clean"].probabilities
        assert "There is no SVM on scores: there is one class." in found.notes

    def test_examples_are_abstained_on_below_the_threshold_of_their_ensemble(
        self, whole_run: TinyRun, evaluated: evaluation.Evaluation
    ) -> None:
        assert set(evaluated.views["clean"].abstain_below) == {whole_run.trained.abstain_below}


class TestBundles:
    @pytest.mark.parametrize("corpus", [VOICES, LINES, COMMENTS])
    def test_a_bundle_scores_as_the_run_it_came_from(self, whole_run: TinyRun, bundle: Bundle, corpus: str) -> None:
        spec = whole_run.spec
        sets = sets_of(spec, corpus)
        scored = evaluate_bundle(bundle, spec.recipe, sets).views["clean"]
        expected = score(whole_run.trained, sets.first)
        assert list(scored.probabilities) == [*MODELS, SOFT_VOTING, HARD_VOTING]
        assert scored.ids == [e.id for e in sets.first.examples]
        assert set(scored.abstain_below) == {bundle.abstain_below}
        # Members' matrices are stored in half precision, and temperature sharpens the difference.
        np.testing.assert_allclose(scored.probabilities["ensemble"], expected.probabilities, atol=0.05)
        for name in MODELS[1:]:
            np.testing.assert_allclose(scored.probabilities[name], expected.members[name], atol=0.01)

    def test_what_was_heard_before_counts(self, whole_run: TinyRun, bundle: Bundle) -> None:
        spec = whole_run.spec
        data = sets_of(spec, VOICES).first
        one = data.select(np.flatnonzero([e.speaker == f"{VOICES}/s0" for e in data.examples]))

        def voice(data: evaluation.TrainingSet) -> np.ndarray:
            sets = EvaluationSets({"clean": data}, 0, {})
            return evaluate_bundle(bundle, spec.recipe, sets).views["clean"].probabilities["voice"]

        together = voice(one)
        alone = np.concatenate([voice(one.select(np.array([i]))) for i in range(len(one))])
        same = np.isclose(together, alone, atol=1e-4).all(axis=1)
        assert same.sum() == 1
