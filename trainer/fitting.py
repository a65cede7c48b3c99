"""Fitting one model: epochs, early stopping on development macro-F1, and the best weights kept, or the last."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainer.checkpoints import Checkpoint, load_checkpoint, optimiser_memory, restore_optimiser, save_checkpoint
from trainer.compute import CPU, Compute
from trainer.dataset import Batch, TrainingSet
from trainer.errors import TrainingStoppedError
from trainer.objectives import MixUp, Objective
from trainer.prediction import development_macro_f1, predict
from trainer.recipe import StageRecipe
from trainer.sampling import Indices, batches
from trainer.stopping import CHECKPOINT_EVERY_S

log = logging.getLogger(__name__)

GRADIENT_NORM = 1.0


@dataclass(slots=True)
class FitReport:
    """How a fit went."""

    best_epoch: int = 0
    """Whose weights were kept: counts from 1; 0 says those it started from."""
    best_macro_f1: float = 0.0
    """In development, of the weights kept."""
    history: list[dict[str, float]] = field(default_factory=list)


Epoch = Callable[[np.random.Generator], Indices]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while a model is fitted, and where it leaves what it needs to go on."""

    progress: Callable[[int, int, float], None] = lambda _epoch, _epochs, _reached: None
    """Told after each epoch: its number, the most there may be, the development macro-F1."""
    scalar: Callable[[str, float, int], None] = lambda _name, _value, _step: None
    """Told of a figure at a step: training loss and learning rate at every step, macro-F1 after each epoch."""
    stop: Callable[[], bool] = lambda: False
    """Asked after every step whether to stop."""
    checkpoint: Path | None = None
    """Where to go on from, and to leave checkpoints."""
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    """Time between two of them."""


def fit(
    model: nn.Module,
    data: TrainingSet,
    development: TrainingSet,
    modalities: Sequence[str],
    *,
    epoch: Epoch,
    stage: StageRecipe,
    objective: Objective,
    mixup_alpha: float,
    weights: Tensor | None,
    seed: int,
    compute: Compute = CPU,
    watch: Watch | None = None,
) -> FitReport:
    """Trains a model in place and leaves it with its best weights, or its last, as the stage says.

    Every batch is a step of AdamW. The learning rate rises over the first steps, without which post-norm transformers
    settle badly, and falls along a cosine over the epochs allowed. Stopped or killed, a fit goes on from its last
    checkpoint and ends with the same weights; on CPU, bit for bit.

    Args:
        model: a `Classifier` of `trainer.prediction`; back on the CPU when this returns.
        data: training examples.
        development: examples of other speakers, to choose the epoch by; may be empty where the last one is kept.
        modalities: what the model reads.
        epoch: draws the positions of one epoch.
        stage: learning rate, epochs, patience, batch, chances.
        objective: what is minimised.
        mixup_alpha: parameter of MixUp's beta distribution.
        weights: class weights `[labels]`, or none.
        seed: of everything that is left to chance.
        compute: device and precision.
        watch: who looks on; nobody by default.

    Raises:
        TrainingStoppedError: the watch asked to stop; its checkpoint holds what was reached.
        RecipeError: the checkpoint is damaged.
    """
    fitting = _Fit(
        model,
        data,
        development,
        modalities,
        epoch=epoch,
        stage=stage,
        objective=objective,
        mixup_alpha=mixup_alpha,
        weights=weights,
        seed=seed,
        compute=compute,
        watch=watch or Watch(),
    )
    return fitting.run()


class _Fit:
    """One fit: its model, its optimiser, its sources of chance, and where it stands."""

    def __init__(
        self,
        model: nn.Module,
        data: TrainingSet,
        development: TrainingSet,
        modalities: Sequence[str],
        *,
        epoch: Epoch,
        stage: StageRecipe,
        objective: Objective,
        mixup_alpha: float,
        weights: Tensor | None,
        seed: int,
        compute: Compute,
        watch: Watch,
    ) -> None:
        self._model = model.to(compute.device)
        self._data = data
        self._development = development
        self._modalities = modalities
        self._epoch = epoch
        self._stage = stage
        self._objective = objective
        self._weights = None if weights is None else weights.to(compute.device)
        self._seed = seed
        self._compute = compute
        self._watch = watch
        self._mixup = MixUp(stage.mixup, mixup_alpha)
        self._optimiser = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
        self._anchor = Anchor(model, stage.anchor)
        # Which examples an epoch sees is a function of seed and number alone; the rest of chance runs on.
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self._total_steps = max(1, stage.epochs * len(self._batches(1)))
        self._number, self._taken, self._step = 1, 0, 0
        self._loss, self._seen = 0.0, 0
        self._report = FitReport()
        self._best: dict[str, Tensor] = {}
        self._saved_at = time.monotonic()

    def run(self) -> FitReport:
        if not self._resume():
            self._report.best_macro_f1 = self._reached()
            self._keep()
        while self._number <= self._stage.epochs and not self._patience_spent():
            self._train_epoch()
            self._close_epoch()
        self._model.load_state_dict(self._best)
        self._model.to("cpu")
        return self._report

    def _batches(self, number: int) -> list[Indices]:
        rng = np.random.default_rng([self._seed, number])
        order = self._epoch(rng)
        return list(batches(order, self._data.lengths, self._data.spoken, self._stage.batch, rng))

    def _train_epoch(self) -> None:
        self._model.train()
        for chosen in self._batches(self._number)[self._taken :]:
            self._take_step(chosen)
            if self._watch.stop():
                self._save()
                raise TrainingStoppedError
            if time.monotonic() - self._saved_at >= self._watch.checkpoint_every_s:
                self._save()

    def _take_step(self, chosen: Indices) -> None:
        """One step of the optimiser, its gradients gathered from as many parts as the stage says."""
        rate = self._stage.learning_rate * _rate(self._step, self._total_steps, self._stage.warmup_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in np.array_split(chosen, min(self._stage.accumulate, chosen.size)):
            batch = self._data.collate(part, self._modalities, drop=self._stage.modality_drop, rng=self._rng)
            loss = self._loss_of(batch.to(self._compute.device)) * (part.size / chosen.size)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        if self._anchor.strength > 0:
            penalty = self._anchor(self._model)
            torch.autograd.backward(penalty)
            total += float(penalty.detach())
        nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)
        self._optimiser.step()
        self._watch.scalar("loss", total, self._step)
        self._watch.scalar("learning_rate", rate, self._step)
        self._loss += total * chosen.size
        self._seen += chosen.size
        self._taken += 1
        self._step += 1

    def _loss_of(self, batch: Batch) -> Tensor:
        objective = self._objective
        with self._compute.autocast():
            latent = self._model.fuse(batch.inputs, batch.masks)  # type: ignore[operator]
            own = objective.on_latent(latent, batch.targets)
            targets = objective.targets(batch.targets, batch.possible)
            mixed = (latent, targets, batch.attributes, batch.known, batch.possible)
            latent, targets, attributes, known, possible = self._mixup(mixed, self._generator)
            logits, predicted = self._model.classify(latent)  # type: ignore[operator]
        return own + objective(
            logits.float(),
            targets,
            predicted=predicted.float(),
            attributes=attributes,
            known=known,
            possible=possible,
            weights=self._weights,
        )

    def _close_epoch(self) -> None:
        reached, number = self._reached(), self._number
        loss = self._loss / max(1, self._seen)
        self._report.history.append({"epoch": number, "loss": loss, "development_macro_f1": reached})
        self._watch.scalar("development_macro_f1", reached, self._step)
        self._watch.progress(number, self._stage.epochs, reached)
        if self._stage.keep == "last" or reached > self._report.best_macro_f1:
            self._report.best_macro_f1, self._report.best_epoch = reached, number
            self._keep()
        self._number, self._taken = number + 1, 0
        self._loss, self._seen = 0.0, 0

    def _patience_spent(self) -> bool:
        done = self._number - 1
        spent = done - self._report.best_epoch >= self._stage.patience
        if spent:
            log.info("stopped after %d epochs: no better development macro-F1 for %d", done, self._stage.patience)
        return spent

    def _reached(self) -> float:
        return development_macro_f1(predict(self._model, self._development, self._modalities), self._development)

    def _keep(self) -> None:
        self._best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._model.state_dict().items()}

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._watch.checkpoint is None:
            return
        progress = {
            "number": self._number,
            "taken": self._taken,
            "step": self._step,
            "loss": self._loss,
            "seen": self._seen,
            "report": asdict(self._report),
            "rng": self._rng.bit_generator.state,
        }
        chance = {"mixup": self._generator.get_state(), "dropout": torch.get_rng_state()}
        memory = optimiser_memory(self._optimiser)
        save_checkpoint(
            self._watch.checkpoint, Checkpoint(dict(self._model.state_dict()), self._best, memory, chance, progress)
        )

    def _resume(self) -> bool:
        """Takes up what a checkpoint holds; False where there is none."""
        found = None if self._watch.checkpoint is None else load_checkpoint(self._watch.checkpoint)
        if found is None:
            return False
        self._model.load_state_dict(found.model)
        self._best = found.best
        restore_optimiser(self._optimiser, found.optimiser)
        self._generator.set_state(found.chance["mixup"])
        torch.set_rng_state(found.chance["dropout"])
        progress = found.progress
        self._rng.bit_generator.state = progress["rng"]
        self._number, self._taken, self._step = progress["number"], progress["taken"], progress["step"]
        self._loss, self._seen = progress["loss"], progress["seen"]
        self._report = FitReport(**progress["report"])
        return True


class Anchor:
    """Pulls a model towards the weights it had: what few examples do not speak against, stays."""

    def __init__(self, model: nn.Module, strength: float) -> None:
        """Remembers the weights.

        Args:
            model: as it is before training.
            strength: of the penalty; 0 makes none.
        """
        self.strength = strength
        self._start = [p.detach().clone() for p in model.parameters()] if strength > 0 else []

    def __call__(self, model: nn.Module) -> Tensor:
        """The strength times the squared distance; of the same model."""
        moved = [(p - start).square().sum() for p, start in zip(model.parameters(), self._start, strict=False)]
        return self.strength * torch.stack(moved).sum() if moved else torch.zeros(())


def _rate(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the learning rate at a step: a linear rise, times a cosine from 1 to 0."""
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
