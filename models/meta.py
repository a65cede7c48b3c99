"""The meta-classifier over the members' answers, and the model soup (paper, stages 3 and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, ATTRIBUTE_NAMES
from models.errors import FeatureError

CENTRE = (ATTRIBUTE_MAX + ATTRIBUTE_MIN) / 2
REACH = (ATTRIBUTE_MAX - ATTRIBUTE_MIN) / 2
# Where training starts: the mean of the members' posteriors, sharpened to about the confidence of one of them, and the
# mean of their attributes (the slope of log((1 + u) / (1 - u)) at 0 is 2).
_START_SHARPNESS = 4.0
_START_SLOPE = 2.0


def fill_silent(probabilities: Tensor, attributes: Tensor, reads: Tensor) -> tuple[Tensor, Tensor]:
    """Lets members with nothing to read say what the others say on average, so that their silence weighs nothing.

    Args:
        probabilities: `[batch, members, labels]`.
        attributes: `[batch, members, 3]`.
        reads: `[batch, members]`, True where a member has something to read. Where none has, all hold every class for
            equally likely, and attributes for the middle of the scale.

    Returns:
        Both, filled in.
    """
    share = reads.to(probabilities.dtype).unsqueeze(-1)
    voices = share.sum(dim=1, keepdim=True)
    heard = voices > 0
    count = voices.clamp(min=1.0)
    posterior = torch.where(heard, (probabilities * share).sum(dim=1, keepdim=True) / count, 1 / probabilities.shape[2])
    rated = torch.where(heard, (attributes * share).sum(dim=1, keepdim=True) / count, CENTRE)
    speaks = reads.unsqueeze(-1)
    return torch.where(speaks, probabilities, posterior), torch.where(speaks, attributes, rated)


def member_answers(probabilities: Tensor, attributes: Tensor) -> Tensor:
    """What the meta-classifier reads: posteriors and attributes of all members, side by side.

    Args:
        probabilities: `[batch, members, labels]`, rows sum to 1.
        attributes: `[batch, members, 3]`, each 1 to 7.

    Returns:
        `[batch, members * (labels + 3)]`, attributes brought to -1 to 1.
    """
    return torch.cat([probabilities, (attributes - CENTRE) / REACH], dim=-1).flatten(1)


class MetaClassifier(nn.Module):
    """Linear, with no activation behind it: a negative logit stays negative."""

    def __init__(self, members: int, labels: int) -> None:
        """Starts as the members' mean; training moves on from there.

        Args:
            members: how many there are.
            labels: classes each tells apart.
        """
        super().__init__()
        self.members = members
        self.labels = labels
        width = members * (labels + len(ATTRIBUTE_NAMES))
        self.to_logits = nn.Linear(width, labels)
        self.to_attributes = nn.Linear(width, len(ATTRIBUTE_NAMES))
        with torch.no_grad():
            for layer in (self.to_logits, self.to_attributes):
                layer.weight.zero_()
                layer.bias.zero_()
            for member in range(members):
                start = member * (labels + len(ATTRIBUTE_NAMES))
                for label in range(labels):
                    self.to_logits.weight[label, start + label] = _START_SHARPNESS / members
                for attribute in range(len(ATTRIBUTE_NAMES)):
                    self.to_attributes.weight[attribute, start + labels + attribute] = _START_SLOPE / members

    def keep_attributes_from_logits(self) -> None:
        """Trained from here, logits go on reading no attribute: their weights get no gradient and stay zero."""
        width = self.labels + len(ATTRIBUTE_NAMES)
        reads = (torch.arange(self.to_logits.in_features) % width < self.labels).float()
        self.to_logits.weight.register_hook(lambda gradient: gradient * reads)  # type: ignore[no-untyped-call]

    def fuse(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        """The answers themselves: what MixUp mixes.

        Args:
            inputs: `answers`, `[batch, 1, members * (labels + 3)]`, from `member_answers`.
            masks: not read; there so that a meta-classifier is fitted as a member is.
        """
        del masks
        return inputs["answers"][:, 0]

    def classify(self, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[batch, labels]` and attributes `[batch, 3]` from `member_answers`."""
        if answers.shape[-1] != self.to_logits.in_features:
            raise FeatureError(
                f"the meta-classifier reads {self.members} members with {self.labels} labels, "
                f"got answers of width {answers.shape[-1]}"
            )
        span = ATTRIBUTE_MAX - ATTRIBUTE_MIN
        return self.to_logits(answers), ATTRIBUTE_MIN + span * torch.sigmoid(self.to_attributes(answers))

    def forward(self, answers: Tensor) -> tuple[Tensor, Tensor]:
        """The same as `classify`."""
        return self.classify(answers)


def soup(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A uniform model soup: the mean of several runs' weights (Wortsman et al. 2022).

    Args:
        states: state dicts of the same architecture.

    Raises:
        FeatureError: none given, or their names or shapes differ.
    """
    if not states:
        raise FeatureError("a soup needs at least one ingredient")
    shapes = {name: tensor.shape for name, tensor in states[0].items()}
    for number, state in enumerate(states[1:], start=2):
        if {name: tensor.shape for name, tensor in state.items()} != shapes:
            raise FeatureError(f"ingredient {number} of the soup has other weights than the first")
    return {name: torch.stack([state[name].double() for state in states]).mean(dim=0).float() for name in shapes}
