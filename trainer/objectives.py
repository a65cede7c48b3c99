"""What a member is trained to do: soft-target cross-entropy, attributes, and Manifold MixUp between latent and head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.errors import RecipeError

IMPOSSIBLE = -1e4
"""A logit that leaves a class no probability, and times a target of 0 is 0."""


def class_weights(targets: Tensor, power: float = 0.5) -> Tensor:
    """Weights that let rare classes count (paper, stage 1): `(N / (C * f_c)) ** power`, f_c the class's soft count.

    Args:
        targets: `[examples, labels]`, the training split alone.
        power: 0 gives every class the same weight, 1 balances them fully.

    Returns:
        `[labels]`; a class that never occurs gets the weight of the rarest that does.
    """
    counts = targets.sum(dim=0)
    present = counts > 0
    if not bool(present.any()):
        raise RecipeError("no training example has a target: there is nothing to weigh")
    counts = torch.where(present, counts, counts[present].min())
    return (targets.shape[0] / (targets.shape[1] * counts)).pow(power)


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy against a distribution, mean over the batch.

    Args:
        logits: `[batch, labels]`.
        targets: `[batch, labels]`, rows sum to 1.
        weights: `[labels]`, from `class_weights`; none weighs all alike.
    """
    log_probabilities = functional.log_softmax(logits, dim=-1)
    weighted = targets if weights is None else targets * weights
    return -(weighted * log_probabilities).sum(dim=-1).mean()


def attribute_error(predicted: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over the examples whose attributes are known; zero where none is.

    Args:
        predicted: `[batch, 3]`.
        targets: `[batch, 3]`, zeros where not known; of a mixed example the sum of what is known, each part times its
            share.
        known: `[batch]`, 1 or 0, or the share of a mixed example that is known: its error weighs as much.
    """
    # An unknown part of a mixture says nothing: what is known of it is brought back onto the scale.
    whole = targets / torch.where(known > 0, known, 1.0).unsqueeze(-1)
    errors = (predicted - whole).square().mean(dim=-1) * known
    return errors.sum() / known.sum().clamp(min=1.0)


def supervised_contrast(latent: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Draws latents of one class together and those of others apart (SupCon, Khosla et al. 2020, equation 2).

    Args:
        latent: `[batch, width]`, not mixed.
        targets: `[batch, labels]`; the strongest class of each counts.
        temperature: of the similarities, positive.

    Returns:
        The mean over examples that have another of their class in the batch; zero where none has.
    """
    directions = functional.normalize(latent, dim=-1)
    itself = torch.eye(latent.shape[0], dtype=torch.bool, device=latent.device)
    similar = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    classes = targets.argmax(dim=-1)
    partners = (classes[:, None] == classes[None, :]) & ~itself
    count = partners.sum(dim=1)
    # Where there is one example alone there is nothing to compare: its row of similarities is empty.
    logs = functional.log_softmax(similar, dim=1).masked_fill(~partners, 0.0)
    found = count > 0
    if not bool(found.any()):
        return latent.new_zeros(())
    return -(logs.sum(dim=1)[found] / count[found]).mean()


def restricted(logits: Tensor, possible: Tensor) -> Tensor:
    """Logits that leave no probability to classes that an example cannot be of (FedRS, Li and Zhan 2021, equation 4).

    A corpus that holds four emotions is no evidence against a fifth: without this its microphone, room and voices are
    learnt as signs that the fifth is not there.

    Args:
        logits: `[batch, labels]`.
        possible: `[batch, labels]`, booleans, or shares of a mixed example: whatever is above 0 is possible.
    """
    return logits.masked_fill(possible <= 0, IMPOSSIBLE)


@dataclass(frozen=True, slots=True)
class Objective:
    """The weighted sum a stage minimises (paper: 1.5 and 0.4), and what it takes for the truth."""

    cross_entropy: float = 1.5
    attributes: float = 0.4
    hard: bool = False
    """The strongest class alone counts, in place of the raters' distribution (the paper gains by the latter)."""
    label_smoothing: float = 0.0
    """Share of every target spread evenly over all classes it may be of (Szegedy et al. 2016)."""
    contrastive: float = 0.0
    """Weight of `supervised_contrast` on the latent before MixUp."""
    contrastive_temperature: float = 0.1

    def targets(self, soft: Tensor, possible: Tensor | None = None) -> Tensor:
        """What is learnt in place of soft targets.

        Args:
            soft: `[batch, labels]`.
            possible: `[batch, labels]`, the classes an example may be of; None for all.

        Returns:
            `[batch, labels]`, rows sum to 1.
        """
        wanted = functional.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft) if self.hard else soft
        spread = torch.ones_like(soft) if possible is None else possible.to(soft)
        return (1 - self.label_smoothing) * wanted + self.label_smoothing * spread / spread.sum(dim=-1, keepdim=True)

    def on_latent(self, latent: Tensor, targets: Tensor) -> Tensor:
        """What is asked of the latent itself, `[batch, width]`; zero where nothing is."""
        if self.contrastive == 0:
            return latent.new_zeros(())
        return self.contrastive * supervised_contrast(latent.float(), targets, self.contrastive_temperature)

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        predicted: Tensor,
        attributes: Tensor,
        known: Tensor,
        possible: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch; shapes as in `soft_cross_entropy`, `restricted` and `attribute_error`."""
        told = logits if possible is None else restricted(logits, possible)
        loss = self.cross_entropy * soft_cross_entropy(told, targets, weights)
        if self.attributes > 0:
            loss = loss + self.attributes * attribute_error(predicted, attributes, known)
        return loss


@dataclass(frozen=True, slots=True)
class MixUp:
    """Manifold MixUp (Verma et al. 2019) on the latent, as in the paper: one lambda an example, Beta(a, a)."""

    probability: float = 0.3
    alpha: float = 0.2

    def __call__(self, tensors: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Mixes every tensor, each `[batch, ...]`, with the same partners and lambdas; with 1 - `probability`, none.

        Args:
            tensors: latent first, then whatever must be mixed alike: soft targets, attributes, their mask.
            generator: the only source of chance.
        """
        batch = tensors[0].shape[0]
        if batch < 2 or float(torch.rand((), generator=generator)) >= self.probability:
            return tensors
        partner = torch.randperm(batch, generator=generator)
        # Two gamma draws make one beta draw, and torch offers them with an explicit generator.
        gammas = torch._standard_gamma(torch.full((2, batch), self.alpha, dtype=torch.float64), generator=generator)
        share = gammas[0] / gammas.sum(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
        return tuple(_blend(tensor, tensor[partner.to(tensor.device)], share.to(tensor)) for tensor in tensors)


def _blend(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    lam = share.view(-1, *([1] * (one.dim() - 1)))
    return lam * one + (1 - lam) * other
