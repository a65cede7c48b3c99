"""The ensemble: shared inputs in, members side by side, meta-classifier, calibrated scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.deepser import DeepSER
from models.emotions import LabelSet
from models.errors import FeatureError
from models.meta import MetaClassifier, fill_silent, member_answers
from models.modalities import Modality


class MemberOutputs(NamedTuple):
    """What every member says of a batch."""

    probabilities: Tensor
    """`[batch, members, labels]`; the mean of the others where a member has nothing to read."""
    attributes: Tensor
    """`[batch, members, 3]`; the same."""


class EnsembleOutput(NamedTuple):
    """Calibrated scores of a batch."""

    probabilities: Tensor
    """`[batch, labels]`."""
    attributes: Tensor
    """`[batch, 3]`."""


def lengths_to_mask(features: Tensor, lengths: Tensor) -> Tensor:
    """`[batch, time]`, True on real frames; exports with dynamic shapes."""
    positions = torch.arange(features.shape[1], device=features.device)
    return positions[None, :] < lengths[:, None]


class Ensemble(nn.Module):
    """Members over shared modalities, a meta-classifier over them, a temperature over that.

    Attributes:
        member_names: in the order of `member_outputs`.
        labels: what the positions of every score mean.
        modalities: the inputs, in the order in which an exported graph takes them.
    """

    def __init__(
        self,
        members: Mapping[str, DeepSER],
        meta: MetaClassifier,
        labels: LabelSet,
        modalities: Sequence[Modality],
        temperature: float = 1.0,
    ) -> None:
        """Puts trained parts together.

        Args:
            members: by name; the meta-classifier reads them in this order.
            meta: trained on these members' answers.
            labels: the classes all of them tell apart.
            modalities: every modality that some member reads.
            temperature: of the calibration, positive.

        Raises:
            FeatureError: the parts do not fit together.
        """
        super().__init__()
        known = {modality.name: modality.dim for modality in modalities}
        for name, member in members.items():
            own = dict(zip(member.config.modalities, member.config.dims, strict=True))
            wrong = [m for m, dim in own.items() if known.get(m) != dim]
            if wrong or member.config.labels != len(labels):
                raise FeatureError(
                    f"member {name} reads {own} and tells {member.config.labels} labels apart; "
                    f"the ensemble has {known} and {len(labels)} labels"
                )
        unread = known.keys() - {m for member in members.values() for m in member.config.modalities}
        if unread:
            raise FeatureError(f"no member reads {', '.join(sorted(unread))}")
        if meta.members != len(members) or meta.labels != len(labels):
            raise FeatureError(
                f"the meta-classifier reads {meta.members} members with {meta.labels} labels, "
                f"there are {len(members)} with {len(labels)}"
            )
        if not temperature > 0:
            raise FeatureError(f"the temperature must be positive, got {temperature}")
        self.member_names = tuple(members)
        self.members = nn.ModuleList(members.values())
        self._reads = [member.config.modalities for member in members.values()]
        self.meta = meta
        self.labels = labels
        self.modalities = tuple(modalities)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def member_outputs(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> MemberOutputs:
        """Every member's own answer.

        Args:
            inputs: per modality `[batch, time, dim]`, time at least 1.
            lengths: per modality `[batch]`, 0 where it is missing.
        """
        masks = {name: lengths_to_mask(features, lengths[name]) for name, features in inputs.items()}
        outputs = [member(inputs, masks) for member in self.members]
        reads = [torch.stack([lengths[name] for name in names]).sum(dim=0) > 0 for names in self._reads]
        probabilities = torch.softmax(torch.stack([output.logits for output in outputs], dim=1), dim=-1)
        attributes = torch.stack([output.attributes for output in outputs], dim=1)
        return MemberOutputs(*fill_silent(probabilities, attributes, torch.stack(reads, dim=1)))

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> EnsembleOutput:
        """Calibrated scores; arguments as in `member_outputs`."""
        logits, attributes = self.meta(member_answers(*self.member_outputs(inputs, lengths)))
        return EnsembleOutput(torch.softmax(logits / self.temperature, dim=-1), attributes)
