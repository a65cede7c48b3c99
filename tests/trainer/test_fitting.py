"""Fitting: every batch trains, the best weights stay, chance is the seed's."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from models.deepser import DeepSER, DeepSERConfig, TransformerLayer
from tests.fakes.examples import DIMS, LABELS, example, frames, learnable_set
from trainer import fitting
from trainer.compute import CPU, Compute, choose_compute
from trainer.dataset import Batch, Example, TrainingSet
from trainer.errors import RecipeError, TrainingStoppedError
from trainer.fitting import Anchor, FitReport, Watch, fit
from trainer.objectives import Objective
from trainer.prediction import Scores, development_macro_f1, predict
from trainer.recipe import StageRecipe
from trainer.sampling import Indices

BOTH = ("voice", "words")
STAGE = StageRecipe(learning_rate=0.01, epochs=4, patience=4, batch=8, warmup_steps=0)


def member(seed: int = 0) -> DeepSER:
    torch.manual_seed(seed)
    return DeepSER(
        DeepSERConfig(modalities=BOTH, dims=tuple(DIMS[m] for m in BOTH), labels=len(LABELS), width=8, feed_forward=16)
    )


def run(
    model: nn.Module,
    data: TrainingSet,
    *,
    stage: StageRecipe = STAGE,
    development: TrainingSet | None = None,
    seed: int = 1,
    objective: Objective = Objective(),  # noqa: B008 - frozen
    progress: list[tuple[int, int, float]] | None = None,
    compute: Compute = CPU,
    watch: Watch | None = None,
) -> FitReport:
    return fit(
        model,
        data,
        learnable_set(seed=7) if development is None else development,
        BOTH,
        epoch=lambda rng: rng.permutation(len(data)).astype(np.int64),
        stage=stage,
        objective=objective,
        mixup_alpha=0.2,
        weights=None,
        seed=seed,
        compute=compute,
        watch=watch or Watch(progress=lambda *told: None if progress is None else progress.append(told)),
    )


def without_dropout(model: DeepSER) -> DeepSER:
    """The model, nothing in it left to chance."""
    for module in model.modules():
        if isinstance(module, TransformerLayer):
            module.dropout = 0.0
    model.config = replace(model.config, dropout=0.0)
    return model


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@dataclass
class Watched:
    """What happened to a model: its weights whenever it read a training batch, and after."""

    weights: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched()
    fuse = DeepSER.fuse

    def watching(self: DeepSER, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        if self.training:
            seen.weights.append(flat(self))
            seen.sizes.append(inputs["voice"].shape[0])
        return fuse(self, inputs, masks)

    monkeypatch.setattr(DeepSER, "fuse", watching)
    return seen


class TestTraining:
    def test_every_batch_of_every_epoch_trains(self, watched: Watched) -> None:
        model = member()
        run(model, learnable_set(30), stage=replace_stage(epochs=2))
        assert sorted(watched.sizes) == [6, 6, 8, 8, 8, 8, 8, 8]
        changes = [
            float((after - before).abs().max())
            for before, after in zip(watched.weights, watched.weights[1:], strict=False)
        ]
        assert len(changes) == 7
        assert min(changes) > 1e-6

    def test_it_learns_what_can_be_learnt(self) -> None:
        model, development = member(seed=1), learnable_set(seed=7)
        before = development_macro_f1(predict(model, development, BOTH), development)
        report = run(model, learnable_set(96), development=development, stage=replace_stage(epochs=6, warmup_steps=10))
        assert report.best_macro_f1 > max(0.8, before)

    def test_every_part_of_a_member_is_trained(self) -> None:
        model = member()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        rated = [replace(e, attributes=np.array([2, 4, 6], np.float32)) for e in learnable_set(48).examples]
        run(model, TrainingSet(rated, LABELS, DIMS))
        assert [name for name, p in model.named_parameters() if torch.equal(before[name], p)] == []

    def test_the_learning_rate_rises_with_every_batch_and_then_falls_to_nothing(self) -> None:
        rates: list[float] = []
        hook = register_optimizer_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
        try:
            run(member(), learnable_set(64), stage=replace_stage(epochs=5, warmup_steps=9))
        finally:
            hook.remove()
        assert len(rates) == 5 * 8
        peak = int(np.argmax(rates))
        assert rates[0] == pytest.approx(STAGE.learning_rate / 10)
        assert 6 <= peak <= 9
        assert (np.diff(rates[: peak + 1]) > 0).all()
        assert (np.diff(rates[peak:]) < 0).all()
        assert rates[-1] < STAGE.learning_rate / 100

    def test_without_warm_up_it_starts_at_its_height(self) -> None:
        rates: list[float] = []
        hook = register_optimizer_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
        try:
            run(member(), learnable_set(8), stage=replace_stage(epochs=1))
        finally:
            hook.remove()
        assert rates == [STAGE.learning_rate]

    def test_no_epoch_leaves_the_model_as_it_was(self) -> None:
        model = member()
        before = flat(model)
        report = run(model, learnable_set(), stage=replace_stage(epochs=0))
        assert torch.equal(flat(model), before)
        assert (report.best_epoch, report.history) == (0, [])


class TestParts:
    def test_a_step_in_parts_is_the_step_of_the_whole(self) -> None:
        weights = []
        for parts in (1, 4):
            model = without_dropout(member())
            run(model, learnable_set(32), stage=replace_stage(epochs=2, mixup=0.0, accumulate=parts))
            weights.append(flat(model))
        torch.testing.assert_close(weights[0], weights[1], atol=2e-3, rtol=0)

    def test_more_parts_than_examples_take_one_each(self, watched: Watched) -> None:
        run(member(), learnable_set(8), stage=replace_stage(epochs=1, batch=3, accumulate=9))
        assert watched.sizes == [1] * 8


class TestPrecision:
    def test_in_bfloat16_it_learns_too_and_weights_stay_single(self) -> None:
        model = member(seed=1)
        stage = replace_stage(epochs=6, warmup_steps=10)
        report = run(model, learnable_set(96), stage=stage, compute=Compute("cpu", "bf16"))
        assert report.best_macro_f1 > 0.8
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    def test_a_device_that_is_not_there_is_named(self) -> None:
        with pytest.raises(RecipeError, match="cannot train on device 'abacus' here"):
            choose_compute("abacus")


class TestGoingOn:
    @pytest.mark.parametrize("stop_after", [1, 4, 6, 7, 12, 23])
    def test_stopped_after_any_step_it_ends_with_the_same_weights_and_report(
        self, stop_after: int, tmp_path: Path
    ) -> None:
        data, stage = learnable_set(48), replace_stage(epochs=4, modality_drop=0.3, mixup=0.5)
        whole = member()
        expected = run(whole, data, stage=stage)
        steps = itertools.count(1)
        stopping = Watch(stop=lambda: next(steps) == stop_after, checkpoint=tmp_path / "one.safetensors")
        with pytest.raises(TrainingStoppedError):
            run(member(), data, stage=stage, watch=stopping)
        torch.manual_seed(stop_after)
        again = member(seed=5)
        report = run(again, data, stage=stage, watch=Watch(checkpoint=stopping.checkpoint))
        assert torch.equal(flat(again), flat(whole))
        assert report == expected

    def test_checkpoints_come_as_often_as_wanted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saved: list[int] = []
        monkeypatch.setattr(fitting, "save_checkpoint", lambda _, checkpoint: saved.append(checkpoint.progress["step"]))
        clock = itertools.count(step=10.0)
        monkeypatch.setattr(fitting.time, "monotonic", lambda: next(clock))
        run(
            member(),
            learnable_set(48),
            stage=replace_stage(epochs=1),
            watch=Watch(checkpoint=tmp_path / "c", checkpoint_every_s=20.0),
        )
        assert saved == [2, 4, 6]

    def test_every_step_and_epoch_is_told_as_curves(self) -> None:
        told: list[tuple[str, int]] = []
        run(
            member(),
            learnable_set(16),
            stage=replace_stage(epochs=2),
            watch=Watch(scalar=lambda name, _, step: told.append((name, step))),
        )
        steps = [[("loss", step), ("learning_rate", step)] for step in range(4)]
        judged = [("development_macro_f1", 2)], [("development_macro_f1", 4)]
        assert told == [*steps[0], *steps[1], *judged[0], *steps[2], *steps[3], *judged[1]]


class TestAnchor:
    def test_a_stronger_one_keeps_the_model_nearer_to_where_it_started(self) -> None:
        data, moved = learnable_set(48), []
        for strength in (0.0, 0.1, 10.0):
            model = member()
            before = flat(model)
            run(model, data, stage=replace_stage(anchor=strength, keep="last"))
            moved.append(float((flat(model) - before).norm()))
        assert moved[0] > 1.2 * moved[1] > 1.2 * 1.2 * moved[2] > 0

    def test_its_penalty_is_the_squared_distance(self) -> None:
        model = Naming()
        anchor = Anchor(model, 0.5)
        assert float(anchor(model).detach()) == 0
        with torch.no_grad():
            model.weight += 3
        assert float(anchor(model).detach()) == pytest.approx(4.5)


class TestKeeping:
    """Two epochs: the first is better in development, as a stub says."""

    def kept(self, keep: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[Tensor], FitReport]:
        reached = iter([0.1, 0.9, 0.5])
        after: list[Tensor] = []
        model = member()

        def judged(*_: object) -> float:
            after.append(flat(model))
            return next(reached)

        monkeypatch.setattr(fitting, "development_macro_f1", judged)
        report = run(model, learnable_set(16), stage=replace_stage(epochs=2, keep=keep))
        return flat(model), after, report

    @pytest.mark.parametrize(("keep", "epoch", "figure"), [("best", 1, 0.9), ("last", 2, 0.5)])
    def test_the_best_epoch_s_weights_stay_or_the_last_one_s(
        self, keep: str, epoch: int, figure: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weights, after, report = self.kept(keep, monkeypatch)
        assert torch.equal(weights, after[epoch])
        assert (report.best_epoch, report.best_macro_f1) == (epoch, figure)

    def test_the_last_can_be_kept_with_nobody_to_choose_by(self) -> None:
        model, data = member(), learnable_set(16)
        nobody = data.select(np.empty(0, dtype=np.int64))
        report = run(model, data, stage=replace_stage(epochs=2, keep="last", patience=1), development=nobody)
        assert report.best_epoch == 2


class Naming(nn.Module):
    """Its latent is the example's class, as a number, and its attributes' first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.latents: list[Tensor] = []

    def fuse(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        return inputs["voice"][:, 0]

    def classify(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.latents.append(latent)
        return latent.new_zeros(latent.shape[0], 4) + self.weight, latent.new_zeros(latent.shape[0], 3) + self.weight


class TestMixing:
    def batches(self, mixup: float) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """The latents of every training batch, and what the loss was given with them."""
        given: list[dict[str, Tensor]] = []

        class Watching(Objective):
            def __call__(self, logits: Tensor, targets: Tensor, **more: Tensor) -> Tensor:  # type: ignore[override]
                given.append({"targets": targets, **more})
                return super().__call__(logits, targets, **more)

        made = [
            example(str(i), i % 4, voice=frames(i % 4), attributes=np.full(3, 1 + i % 4, np.float32)) for i in range(32)
        ]
        made[:8] = [replace(e, attributes=None) for e in made[:8]]
        model = Naming()
        run(model, TrainingSet(made, LABELS, DIMS), stage=replace_stage(mixup=mixup, epochs=2), objective=Watching())
        return list(zip(model.latents, given, strict=True))

    def test_what_an_example_is_and_what_it_shall_be_are_mixed_alike(self) -> None:
        classes = torch.arange(4.0)
        mixed = 0
        for latent, given in self.batches(1.0):
            torch.testing.assert_close(given["targets"] @ classes, latent[:, 0])
            known = given["known"]
            whole = known == 1
            torch.testing.assert_close(given["attributes"][whole, 0], latent[whole, 0] + 1)
            mixed += int(((given["targets"] > 0).sum(dim=1) > 1).sum())
        assert mixed > 16

    def test_without_mixing_every_example_is_itself(self) -> None:
        for latent, given in self.batches(0.0):
            assert torch.equal(given["targets"].argmax(dim=1).float(), latent[:, 0])
            assert set(given["known"].tolist()) <= {0.0, 1.0}


class TestReading:
    def test_training_draws_histories_and_drops_modalities_and_choosing_does_neither(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[int, dict[str, object]]] = []
        collate = TrainingSet.collate

        def watching(self: TrainingSet, indices: Indices, modalities: tuple[str, ...], **how: Any) -> Batch:
            asked.append((id(self), how))
            return collate(self, indices, modalities, **how)

        monkeypatch.setattr(TrainingSet, "collate", watching)
        data = learnable_set(16)
        run(member(), data, stage=replace_stage(epochs=2, modality_drop=0.4))
        training = [how for of, how in asked if of == id(data)]
        assert len(training) == 4
        assert all(how["drop"] == 0.4 and isinstance(how["rng"], np.random.Generator) for how in training)
        assert [how for of, how in asked if of != id(data)] == [{}] * 3


class TestChance:
    def test_the_same_seed_gives_the_same_weights_bit_for_bit(self) -> None:
        noisy = replace_stage(mixup=0.5, modality_drop=0.3)
        models = []
        for disturbance in (3, 4):
            model = member()
            torch.manual_seed(disturbance)
            run(model, learnable_set(), stage=noisy)
            models.append(flat(model))
        assert torch.equal(*models)

    def test_another_seed_gives_others(self) -> None:
        models = [member(), member()]
        for seed, model in enumerate(models):
            run(model, learnable_set(), seed=seed)
        assert not torch.equal(flat(models[0]), flat(models[1]))


class TestChoosing:
    """Development macro-F1 is scripted here, so that the choice alone is tested."""

    def fitted(
        self, monkeypatch: pytest.MonkeyPatch, scores: list[float], *, patience: int = 99
    ) -> tuple[FitReport, list[Tensor], Tensor]:
        model, told, kept = member(), iter(scores), []

        def scripted(_scores: Scores, _data: TrainingSet) -> float:
            kept.append(flat(model))
            return next(told)

        monkeypatch.setattr(fitting, "development_macro_f1", scripted)
        report = run(model, learnable_set(), stage=replace_stage(epochs=len(scores) - 1, patience=patience))
        return report, kept, flat(model)

    def test_the_best_epoch_s_weights_are_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        report, kept, final = self.fitted(monkeypatch, [0.1, 0.3, 0.7, 0.5, 0.6])
        assert (report.best_epoch, report.best_macro_f1) == (2, 0.7)
        assert torch.equal(final, kept[2])
        assert not torch.equal(final, kept[4])

    def test_of_equals_the_first_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        report, kept, final = self.fitted(monkeypatch, [0.1, 0.7, 0.7])
        assert report.best_epoch == 1
        assert torch.equal(final, kept[1])

    def test_where_training_only_harms_the_weights_it_started_from_are_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report, kept, final = self.fitted(monkeypatch, [0.9, 0.3, 0.4])
        assert (report.best_epoch, report.best_macro_f1) == (0, 0.9)
        assert torch.equal(final, kept[0])

    def test_it_stops_when_nothing_gets_better_for_as_long_as_patience_lasts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report, _, _ = self.fitted(monkeypatch, [0.1, 0.2, 0.6, 0.5, 0.4, 0.9, 0.9], patience=2)
        assert [entry["epoch"] for entry in report.history] == [1, 2, 3, 4]
        assert report.best_epoch == 2

    def test_every_epoch_is_told_and_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scores = iter([0.0, 0.25, 0.5])
        monkeypatch.setattr(fitting, "development_macro_f1", lambda *_: next(scores))
        told: list[tuple[int, int, float]] = []
        report = run(member(), learnable_set(), stage=replace_stage(epochs=2), progress=told)
        assert told == [(1, 2, 0.25), (2, 2, 0.5)]
        assert [entry["development_macro_f1"] for entry in report.history] == [0.25, 0.5]
        assert all(entry["loss"] > 0 for entry in report.history)


class TestScoring:
    def test_scores_stand_in_the_order_of_the_set_whatever_the_batches(self) -> None:
        model, data = member(), learnable_set(150)
        scores = predict(model, data, BOTH)
        for position in (0, 1, 77, 149):
            alone = predict(model, data.select(np.array([position])), BOTH)
            np.testing.assert_allclose(scores.logits[position], alone.logits[0], atol=1e-5)
            np.testing.assert_allclose(scores.attributes[position], alone.attributes[0], atol=1e-5)

    def test_dropout_is_off(self) -> None:
        torch.manual_seed(0)
        model = DeepSER(
            DeepSERConfig(modalities=("voice",), dims=(3,), labels=4, width=8, feed_forward=8, input_dropout=0.9)
        ).train()
        data = learnable_set(8)
        first, again = (predict(model, data, ("voice",)).logits for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_of_nothing_there_is_nothing(self) -> None:
        scores = predict(member(), TrainingSet([], LABELS, DIMS), BOTH)
        assert (scores.logits.shape, scores.attributes.shape) == ((0, 4), (0, 3))


class TestDevelopmentFigure:
    def scored(self, data: TrainingSet, predicted: list[int]) -> float:
        logits = np.eye(4, dtype=np.float32)[predicted]
        return development_macro_f1(Scores(logits, np.zeros((len(data), 3), np.float32)), data)

    def made(self, spoken: Indices, written: Indices, *, ambiguous: frozenset[int] = frozenset()) -> TrainingSet:
        voices = [
            example(f"v{i}", label, voice=frames(1.0), ambiguous=i in ambiguous) for i, label in enumerate(spoken)
        ]
        texts = [example(f"t{i}", label, words=frames(1.0, dim=2)) for i, label in enumerate(written)]
        return TrainingSet([*voices, *texts], LABELS, DIMS)

    def test_speech_and_text_count_the_same_however_many_there_are(self) -> None:
        data = self.made([0, 1], [0, 1, 2, 3] * 25)
        assert self.scored(data, [0, 1] + [0, 1, 2, 3] * 25) == 1.0
        # All speech right, all text wrong.
        assert self.scored(data, [0, 1] + [1, 2, 3, 0] * 25) == pytest.approx(0.5)

    def test_one_kind_alone_is_the_whole_figure(self) -> None:
        assert self.scored(self.made([0, 1], []), [0, 1]) == 1.0
        assert self.scored(self.made([], [0, 1]), [1, 0]) == 0.0

    def test_what_annotators_did_not_agree_on_does_not_count(self) -> None:
        data = self.made([0, 1, 2], [], ambiguous=frozenset({2}))
        assert self.scored(data, [0, 1, 3]) == 1.0

    def test_with_nothing_to_measure_it_is_0(self) -> None:
        assert self.scored(self.made([0], [], ambiguous=frozenset({0})), [0]) == 0.0


def replace_stage(**changes: float) -> StageRecipe:
    return STAGE.model_copy(update=changes)


class Linear(nn.Module):
    """Reads the mean of a voice, linearly: what it extrapolates to can be told in advance."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(DIMS["voice"], len(LABELS))

    def fuse(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        return (inputs["voice"] * masks["voice"].unsqueeze(-1)).sum(dim=1) / masks["voice"].sum(dim=1, keepdim=True)

    def classify(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(latent), latent.new_zeros(len(latent), 3)


def confounded(restrict: bool) -> tuple[TrainingSet, TrainingSet]:
    """A studio that holds four classes, a line that holds two of them, and the other two heard over that line.

    Two features are the class, the last one is the microphone.
    """
    rng = np.random.default_rng(3)
    two = np.array([True, True, False, False]) if restrict else None

    def clip(name: str, label: int, line: bool, possible: NDArray[np.bool_] | None) -> Example:
        angle = np.pi / 2 * label
        own = np.array([np.cos(angle), np.sin(angle), 2.0 if line else -2.0])
        voice = own + rng.normal(scale=0.2, size=(3, 3))
        corpus = "line" if line else "studio"
        return replace(example(name, label, corpus=corpus, voice=voice), possible=possible)

    heard = [clip(f"studio-{i}", i % 4, False, None) for i in range(40)]
    heard += [clip(f"line-{i}", i % 2, True, two) for i in range(120)]
    unheard = [clip(f"unheard-{i}", 2 + i % 2, True, None) for i in range(40)]
    return TrainingSet(heard, LABELS, DIMS), TrainingSet(unheard, LABELS, DIMS)


def test_a_corpus_does_not_teach_that_what_it_lacks_is_not_there() -> None:
    found = {}
    for restrict in (False, True):
        heard, unheard = confounded(restrict)
        torch.manual_seed(0)
        model = Linear()
        run(model, heard, stage=STAGE.model_copy(update={"epochs": 20, "keep": "last", "learning_rate": 0.05}))
        found[restrict] = float((predict(model, unheard, BOTH).logits.argmax(axis=1) == unheard.dominant).mean())
    assert found[True] > 0.9
    assert found[False] < 0.5
