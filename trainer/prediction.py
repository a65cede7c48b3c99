"""What a model says of a whole set, and how good that is where a fit chooses by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.dataset import TrainingSet
from trainer.metrics import macro_f1
from trainer.objectives import IMPOSSIBLE

_SCORED_AT_ONCE: Final = 64


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


def predict(model: nn.Module, data: TrainingSet, modalities: Sequence[str]) -> Scores:
    """Scores every example of a set, in evaluation mode.

    Args:
        model: a `Classifier`.
        data: what to score.
        modalities: what the model reads.
    """
    model.eval()
    device = str(next(model.parameters()).device)
    order = np.argsort(data.lengths, kind="stable").astype(np.int64)
    logits = np.zeros((len(data), len(data.labels)), dtype=np.float32)
    attributes = np.zeros((len(data), 3), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(data), _SCORED_AT_ONCE):
            chosen = order[start : start + _SCORED_AT_ONCE]
            batch = data.collate(chosen, modalities).to(device)
            scored, rated = model.classify(model.fuse(batch.inputs, batch.masks))  # type: ignore[operator]
            logits[chosen] = scored.cpu().numpy()
            attributes[chosen] = rated.cpu().numpy()
    return Scores(logits, attributes)


def development_macro_f1(scores: Scores, data: TrainingSet) -> float:
    """Macro-F1 over the unambiguous examples of a set; where some are spoken and some are text, the mean of both.

    So neither kind is chosen for at the other's cost, however many there are of each. An example is given a class that
    its corpus tells of.
    """
    predicted = np.where(data.possible, scores.logits, IMPOSSIBLE).argmax(axis=1)
    kinds = [data.spoken & ~data.ambiguous, ~data.spoken & ~data.ambiguous]
    figures = [macro_f1(data.dominant[kind], predicted[kind], len(data.labels)) for kind in kinds if kind.any()]
    return float(np.mean(figures)) if figures else 0.0
