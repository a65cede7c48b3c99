"""All four stages on tiny data: what each does, and that stopping changes nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.meta import MetaClassifier
from models.speaker import SpeakerStandardisation
from tests.fakes.runs import COMMENTS, LINES, MEMBERS, MODELS, VOICES, TinyData, TinyRun
from trainer import fitting, running, stages
from trainer.artefacts import Artefacts
from trainer.assembly import assemble
from trainer.dataset import TrainingSet
from trainer.evaluation_sets import evaluation_sets
from trainer.prediction import predict
from trainer.running import run_stages, train_member
from trainer.sampling import Indices
from trainer.splits import leave_part
from trainer.stages import ANSWERS, TrainedEnsemble, answers_of, score, stage_3, stage_4
from trainer.variants import changed


@pytest.fixture
def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch seems better than the one before, so that a fit ends with its last."""
    reached = itertools.count()
    monkeypatch.setattr(fitting, "development_macro_f1", lambda *_: next(reached))


def standing(run: TinyRun) -> tuple[SpeakerStandardisation, TrainingSet]:
    """What stage 4 hands on as it is."""
    return run.trained.standardisation, run.trained.development


class TestTheWhole:
    def test_what_it_learns_is_far_above_chance(self, tiny: TinyData, whole_run: TinyRun) -> None:
        spec = whole_run.spec
        for corpus in (VOICES, LINES, COMMENTS):
            data = evaluation_sets(spec.recipe, spec.corpora, spec.features, corpus).first
            right = score(whole_run.trained, data).probabilities.argmax(axis=1) == data.dominant
            assert right.mean() > 0.5

    def test_it_leaves_an_artefact_of_every_model_of_every_stage(self, whole_run: TinyRun) -> None:
        artefacts = Artefacts(whole_run.spec)
        assert all(artefacts.has(stage, name) for stage, name in MODELS)

    def test_reports_say_how_every_fit_went(self, whole_run: TinyRun) -> None:
        artefacts, recipe = Artefacts(whole_run.spec), whole_run.spec.recipe
        for name in MEMBERS:
            report = artefacts.report("stage1", name)
            assert len(report["history"]) <= recipe.stage1.epochs
            reached = [entry["development_macro_f1"] for entry in report["history"]]
            assert report["best_macro_f1"] >= max(reached)
        fits = artefacts.report("stage3", "run-0")["fits"]
        assert [len(fit["history"]) <= limit for fit, limit in zip(fits, (4, 1), strict=True)] == [True, True]

    def test_every_model_is_announced_epoch_by_epoch(self, whole_run: TinyRun) -> None:
        told = [what for what, *_ in whole_run.told]
        expected = [f"{name}, stage {stage}" for name in MEMBERS for stage in (1, 2)]
        expected += [f"meta-classifier {run}, stage 3" for run in (1, 2, 3)]
        assert list(dict.fromkeys(told)) == expected
        assert [entry[1:3] for entry in whole_run.told[:2]] == [(1, 2), (2, 2)]

    def test_stage_2_trains_on_from_where_stage_1_ended(
        self, whole_run: TinyRun, tmp_path: Path, always_better: None
    ) -> None:
        spec = replace(whole_run.spec, folder=tmp_path)
        train_member(spec, "both", assemble(spec))
        one, two = (Artefacts(spec).weights(stage, "both") for stage in ("stage1", "stage2"))
        trained = [name for name in one if not name.endswith(("_mean", "_scale"))]
        assert not any(torch.equal(one[name], two[name]) for name in trained)
        # Three epochs at a hundredth a step do not lead far from there.
        assert all((one[name] - two[name]).abs().max() < 0.3 for name in trained)

    def test_members_carry_the_statistics_of_what_is_not_standardised_to_the_speaker(self, whole_run: TinyRun) -> None:
        split = assemble(whole_run.spec)
        member = whole_run.trained.members["both"]
        mean, deviation = split.train.statistics("text")
        np.testing.assert_allclose(member.get_buffer("text_mean"), mean, atol=1e-6)
        np.testing.assert_allclose(member.get_buffer("text_scale"), 1 / deviation, rtol=1e-5)
        assert torch.equal(member.get_buffer("prosody_mean"), torch.zeros(26))


class TestAnswers:
    def test_a_member_with_nothing_to_read_answers_what_the_others_do(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        answers = answers_of(whole_run.trained.members, development)
        written = ~development.spoken
        rows = np.concatenate([np.asarray(e.features[ANSWERS]) for e in answers.examples]).reshape(-1, 3, 7)
        assert written.any()
        np.testing.assert_allclose(rows[written, 1], rows[written][:, [0, 2]].mean(axis=1), atol=1e-3)
        assert (np.abs(rows[~written, 1, :4] - rows[~written][:, [0, 2], :4].mean(axis=1)).max(axis=1) > 0.01).any()

    def test_answers_belong_to_the_examples_they_were_given_for(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        answers = answers_of(whole_run.trained.members, development)
        assert [e.id for e in answers.examples] == [e.id for e in development.examples]
        np.testing.assert_array_equal(answers.targets, development.targets)
        probabilities = stages.softmax(predict(whole_run.trained.members["words"], development, ("text",)).logits)
        reads = [i for i, e in enumerate(development.examples) if e.features["text"] is not None]
        for i in reads:
            row = np.asarray(answers.examples[i].features[ANSWERS], np.float32).reshape(3, 7)
            np.testing.assert_allclose(row[2, :4], probabilities[i], atol=1e-3)

    def test_members_answer_for_speakers_they_never_heard(
        self, tiny: TinyData, whole_run: TinyRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = []
        monkeypatch.setattr(running, "answers_of", lambda members, data: given.append(data) or _stop())
        with pytest.raises(Interrupted):
            run_stages(whole_run.spec)
        trained_on = {e.speaker for e in assemble(whole_run.spec).train.examples}
        assert not trained_on & {e.speaker for e in given[0].examples}


class TestMetaClassifiers:
    def test_untrained_they_vote_softly(self, tiny: TinyData, whole_run: TinyRun, tmp_path: Path) -> None:
        recipe = whole_run.spec.recipe
        still = {"learning_rate": 1e-3, "epochs": 0}
        recipe = changed(recipe, meta={"runs": 2, "full": still, "balanced": still})
        development = assemble(whole_run.spec).development
        answers = answers_of(whole_run.trained.members, development)
        artefacts = Artefacts(replace(whole_run.spec, recipe=recipe, folder=tmp_path))
        stage_3(answers, artefacts, recipe)
        trained = stage_4(answers, artefacts, recipe, whole_run.trained.members, *standing(whole_run))
        scores = score(trained, development)
        votes = np.mean(list(scores.members.values()), axis=0)
        ordered = np.sort(votes, axis=1)
        # Answers are stored in half precision: where two classes are closer than that, either may win.
        clear = ordered[:, -1] - ordered[:, -2] > 1e-3
        assert clear.sum() > len(votes) / 2
        np.testing.assert_array_equal(scores.probabilities.argmax(axis=1)[clear], votes.argmax(axis=1)[clear])

    def test_the_soup_is_the_mean_of_the_runs(self, whole_run: TinyRun) -> None:
        artefacts = Artefacts(whole_run.spec)
        runs = [artefacts.weights("stage3", f"run-{run}") for run in range(3)]
        for name, value in artefacts.weights("stage4", "soup").items():
            torch.testing.assert_close(value, torch.stack([run[name] for run in runs]).mean(dim=0))
        kept = whole_run.trained.meta.state_dict()
        assert all(torch.equal(kept[n], v) for n, v in artefacts.weights("stage4", "soup").items())

    def test_a_greedy_soup_leaves_out_what_harms(self, whole_run: TinyRun, tmp_path: Path) -> None:
        values = whole_run.spec.recipe.meta.model_dump()
        recipe = changed(whole_run.spec.recipe, meta={**values, "soup": "greedy"})
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        artefacts = Artefacts(replace(whole_run.spec, recipe=recipe, folder=tmp_path))
        stage_3(answers, artefacts, recipe)
        good = [artefacts.weights("stage3", f"run-{run}") for run in range(2)]
        artefacts.save("stage3", "run-2", {name: -5 * value for name, value in good[0].items()}, {})
        stage_4(answers, artefacts, recipe, whole_run.trained.members, *standing(whole_run))
        kept = artefacts.weights("stage4", "soup")["to_logits.weight"]
        one, other = (run["to_logits.weight"] for run in good)
        assert any(torch.equal(kept, mixture) for mixture in (one, other, torch.stack([one, other]).mean(dim=0)))

    def test_every_run_is_another(self, whole_run: TinyRun, tmp_path: Path, always_better: None) -> None:
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        artefacts = Artefacts(replace(whole_run.spec, folder=tmp_path))
        stage_3(answers, artefacts, whole_run.spec.recipe)
        runs = [artefacts.weights("stage3", f"run-{run}")["to_logits.weight"] for run in range(3)]
        started_from = MetaClassifier(3, 4).to_logits.weight
        assert not any(torch.equal(one, other) for one, other in itertools.combinations([*runs, started_from], 2))

    def test_each_is_trained_without_another_part_of_the_speakers(
        self, whole_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sides: list[tuple[set[str], set[str]]] = []
        fit = stages.fit

        def watching(model: object, data: object, development: object, *rest: object, **more: object) -> object:
            sides.append(tuple({e.speaker for e in side.examples} for side in (data, development)))  # type: ignore[attr-defined,arg-type]
            return fit(model, data, development, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(stages, "fit", watching)
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        stage_3(answers, Artefacts(replace(whole_run.spec, folder=tmp_path)), whole_run.spec.recipe)
        everybody = {e.speaker for e in answers.examples}
        assert len(sides) == 6
        assert all(not train & left and train | left == everybody for train, left in sides)
        assert [sides[i] == sides[i + 1] for i in (0, 2, 4)] == [True] * 3
        assert set.union(*(sides[i][1] for i in (0, 2, 4))) == everybody

    @pytest.mark.parametrize("reads", [True, False])
    def test_the_emotion_is_read_from_attributes_only_where_the_recipe_says_so(
        self, whole_run: TinyRun, tmp_path: Path, always_better: None, reads: bool
    ) -> None:
        values = whole_run.spec.recipe.meta.model_dump()
        recipe = changed(whole_run.spec.recipe, meta={**values, "attributes_as_evidence": reads})
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        artefacts = Artefacts(replace(whole_run.spec, recipe=recipe, folder=tmp_path))
        stage_3(answers, artefacts, recipe)
        weight = artefacts.weights("stage3", "run-0")["to_logits.weight"].view(4, 3, 4 + 3)
        assert bool(weight[..., :4].any())
        assert bool(weight[..., 4:].any()) is reads

    def test_class_weights_are_of_the_power_that_the_recipe_gives_stage_3(
        self, whole_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        powers: list[float] = []
        weigh = stages.class_weights
        monkeypatch.setattr(
            stages, "class_weights", lambda targets, power: powers.append(power) or weigh(targets, power)
        )
        values = whole_run.spec.recipe.meta.model_dump()
        recipe = changed(whole_run.spec.recipe, meta={**values, "class_weight_power": 0.25}, class_weight_power=1.0)
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        stage_3(answers, Artefacts(replace(whole_run.spec, recipe=recipe, folder=tmp_path)), recipe)
        assert powers == [0.25] * 3


class TestCalibration:
    """Each run's logits are made to name the run, so that what is calibrated on shows whose they are."""

    def calibrated(
        self, whole_run: TinyRun, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[TrainedEnsemble, NDArray[np.float64], list[frozenset[int]]]:
        recipe = whole_run.spec.recipe
        answers = answers_of(whole_run.trained.members, assemble(whole_run.spec).development)
        artefacts = Artefacts(replace(whole_run.spec, folder=folder))
        for run in range(recipe.meta.runs):
            state = {n: torch.zeros_like(v) for n, v in MetaClassifier(3, 4).state_dict().items()}
            state["to_logits.bias"][0] = 10.0**run
            artefacts.save("stage3", f"run-{run}", state, {})
        given: list[NDArray[np.float64]] = []
        monkeypatch.setattr(stages, "fit_temperature", lambda logits, _: given.append(logits.copy()) or 2.0)
        trained = stage_4(answers, artefacts, recipe, whole_run.trained.members, *standing(whole_run))
        parts = [leave_part(answers, run, recipe.meta.runs, recipe.seed) for run in range(recipe.meta.runs)]
        strangers = [
            frozenset(
                run for run, part in enumerate(parts) if e.speaker not in {t.speaker for t in part.train.examples}
            )
            for e in answers.examples
        ]
        return trained, given[0], strangers

    def test_temperature_is_fitted_on_logits_of_runs_that_were_not_trained_on_the_speaker(
        self, whole_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, logits, strangers = self.calibrated(whole_run, tmp_path, monkeypatch)
        expected = [10.0 ** min(runs) for runs in strangers]
        assert {len(runs) for runs in strangers} == {1}
        assert len(set(strangers)) == 3
        np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-5)

    def test_the_threshold_lets_the_asked_share_of_spoken_segments_through(
        self, whole_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[tuple[Indices, float]] = []
        monkeypatch.setattr(stages, "fit_abstention", lambda values, share: given.append((values, share)) or 0.5)
        trained, logits, _ = self.calibrated(whole_run, tmp_path, monkeypatch)
        spoken = assemble(whole_run.spec).development.spoken
        confidence, share = given[0]
        assert (trained.temperature, trained.abstain_below, share) == (2.0, 0.5, whole_run.spec.recipe.target_coverage)
        scaled = logits[spoken] / 2.0
        np.testing.assert_allclose(confidence, np.exp(scaled.max(axis=1)) / np.exp(scaled).sum(axis=1), rtol=1e-4)

    def test_what_was_fitted_is_recorded(self, whole_run: TinyRun) -> None:
        report = Artefacts(whole_run.spec).report("stage4", "soup")
        assert report["temperature"] == whole_run.trained.temperature
        assert report["abstain_below"] == whole_run.trained.abstain_below
        assert report["fitted_on"] == len(assemble(whole_run.spec).development)


class TestScoring:
    def test_probabilities_are_distributions_calibrated_by_the_temperature(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        trained = whole_run.trained
        plain = score(replace(trained, temperature=1.0), development).probabilities
        sharper = score(replace(trained, temperature=0.5), development).probabilities
        np.testing.assert_allclose(plain.sum(axis=1), 1, atol=1e-5)
        squared = plain**2 / (plain**2).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(sharper, squared, atol=1e-4)

    def test_members_are_scored_beside_the_ensemble(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        scores = score(whole_run.trained, development)
        assert list(scores.members) == list(MEMBERS)
        assert scores.attributes.min() >= 1
        assert scores.attributes.max() <= 7
        for values in scores.members.values():
            np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)

    def test_the_first_meta_classifier_alone_is_scored_beside_the_soup_of_all(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        trained = whole_run.trained
        assert len(trained.runs) == whole_run.spec.recipe.meta.runs
        alone = score(replace(trained, meta=trained.runs[0]), development).probabilities
        np.testing.assert_array_equal(score(trained, development).single, alone)
        assert not np.allclose(alone, score(trained, development).probabilities, atol=1e-4)

    def test_what_stage_3_was_fitted_on_is_handed_out(self, whole_run: TinyRun) -> None:
        development = assemble(whole_run.spec).development
        assert whole_run.trained.answers.positions == development.positions
        assert whole_run.trained.answers.dims == {ANSWERS: 3 * (4 + 3)}

    def test_speakers_are_heard_against_the_priors_of_the_training_set(self, whole_run: TinyRun) -> None:
        spec = whole_run.spec
        data = evaluation_sets(spec.recipe, spec.corpora, spec.features, VOICES).first
        prepared = data.standardised(whole_run.trained.standardisation)
        np.testing.assert_array_equal(
            score(whole_run.trained, data).probabilities, score(whole_run.trained, prepared).probabilities
        )
        shifted = replace(whole_run.trained, standardisation=stages.SpeakerStandardisation({}))
        assert not np.allclose(
            score(whole_run.trained, data).probabilities, score(shifted, data).probabilities, atol=1e-3
        )


class Interrupted(Exception):  # noqa: N818 - stands in for a power cut
    """The machine went away."""


def _stop() -> None:
    raise Interrupted
