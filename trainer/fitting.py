"""Fitting one model: epochs, early stopping on development macro-F1, and the best weights kept, or the last."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.dataset import Batch, TrainingSet
from trainer.metrics import macro_f1
from trainer.objectives import MixUp, Objective
from trainer.recipe import StageRecipe
from trainer.sampling import Indices, batches

log = logging.getLogger(__name__)

EVALUATION_BATCH = 64
GRADIENT_NORM = 1.0


class Classifier(Protocol):
    """What both members and meta-classifiers offer: a latent that MixUp may mix, and a head."""

    def fuse(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        """The latent, `[batch, latent]`."""
        ...

    def classify(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[batch, labels]` and attributes `[batch, 3]`."""
        ...


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of a whole set, in its order."""

    logits: NDArray[np.float32]
    """`[examples, labels]`."""
    attributes: NDArray[np.float32]
    """`[examples, 3]`."""


@dataclass(slots=True)
class FitReport:
    """How a fit went."""

    best_epoch: int = 0
    """Whose weights were kept: counts from 1; 0 says those it started from."""
    best_macro_f1: float = 0.0
    """In development, of the weights kept."""
    history: list[dict[str, float]] = field(default_factory=list)


Epoch = Callable[[np.random.Generator], Indices]


def predict(model: nn.Module, data: TrainingSet, modalities: Sequence[str]) -> Scores:
    """Scores every example of a set, in evaluation mode.

    Args:
        model: a `Classifier`.
        data: what to score.
        modalities: what the model reads.
    """
    model.eval()
    order = np.argsort(data.lengths, kind="stable").astype(np.int64)
    logits = np.zeros((len(data), len(data.labels)), dtype=np.float32)
    attributes = np.zeros((len(data), 3), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(data), EVALUATION_BATCH):
            chosen = order[start : start + EVALUATION_BATCH]
            batch = data.collate(chosen, modalities)
            scored, rated = model.classify(model.fuse(batch.inputs, batch.masks))  # type: ignore[operator]
            logits[chosen] = scored.numpy()
            attributes[chosen] = rated.numpy()
    return Scores(logits, attributes)


def development_macro_f1(scores: Scores, data: TrainingSet) -> float:
    """Macro-F1 over the unambiguous examples of a set; where some are spoken and some are text, the mean of both.

    So neither kind is chosen for at the other's cost, however many there are of each.
    """
    predicted = scores.logits.argmax(axis=1)
    kinds = [data.spoken & ~data.ambiguous, ~data.spoken & ~data.ambiguous]
    figures = [macro_f1(data.dominant[kind], predicted[kind], len(data.labels)) for kind in kinds if kind.any()]
    return float(np.mean(figures)) if figures else 0.0


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
    progress: Callable[[int, int, float], None] | None = None,
) -> FitReport:
    """Trains a model in place and leaves it with its best weights, or its last, as the stage says.

    Every batch is a step of AdamW. The learning rate rises over the first steps, without which post-norm transformers
    settle badly, and falls along a cosine over the epochs allowed.

    Args:
        model: a `Classifier`.
        data: training examples.
        development: examples of other speakers, to choose the epoch by; may be empty where the last one is kept.
        modalities: what the model reads.
        epoch: draws the positions of one epoch.
        stage: learning rate, epochs, patience, batch, chances.
        objective: what is minimised.
        mixup_alpha: parameter of MixUp's beta distribution.
        weights: class weights `[labels]`, or none.
        seed: of everything that is left to chance.
        progress: called after each epoch with its number, the number of epochs at most, and the development macro-F1.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
    mixup = MixUp(stage.mixup, mixup_alpha)
    total_steps = max(1, stage.epochs) * max(1, -(-epoch(np.random.default_rng(seed)).size // stage.batch))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total_steps, stage.warmup_steps))
    anchor = Anchor(model, stage.anchor)
    report = FitReport(best_macro_f1=development_macro_f1(predict(model, development, modalities), development))
    best = copy.deepcopy(model.state_dict())
    for number in range(1, stage.epochs + 1):
        model.train()
        total, seen = 0.0, 0
        for chosen in batches(epoch(rng), data.lengths, data.spoken, stage.batch, rng):
            batch = data.collate(chosen, modalities, drop=stage.modality_drop, rng=rng)
            loss = _loss(model, batch, objective, mixup, weights, generator) + anchor(model)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
            seen += len(chosen)
        reached = development_macro_f1(predict(model, development, modalities), development)
        report.history.append({"epoch": number, "loss": total / max(1, seen), "development_macro_f1": reached})
        if progress is not None:
            progress(number, stage.epochs, reached)
        if stage.keep == "last" or reached > report.best_macro_f1:
            report.best_macro_f1, report.best_epoch = reached, number
            best = copy.deepcopy(model.state_dict())
        elif number - report.best_epoch >= stage.patience:
            log.info("stopped after %d epochs: no better development macro-F1 for %d", number, stage.patience)
            break
    model.load_state_dict(best)
    return report


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


def _loss(
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    mixup: MixUp,
    weights: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    latent = model.fuse(batch.inputs, batch.masks)  # type: ignore[operator]
    latent, targets, attributes, known = mixup((latent, batch.targets, batch.attributes, batch.known), generator)
    logits, predicted = model.classify(latent)  # type: ignore[operator]
    return objective(logits, targets, predicted=predicted, attributes=attributes, known=known, weights=weights)
