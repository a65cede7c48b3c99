"""The ensemble as one computation in PyTorch: members of one shape side by side, every input read once.

What `models.graphs.ensemble` writes for ONNX Runtime, for a device that PyTorch drives.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.deepser import DeepSER
from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.ensemble import Ensemble, EnsembleOutput, MemberOutputs, lengths_to_mask
from models.fused_layers import Encoders, Linears, States, Times, buffer
from models.fused_weights import Fusion, Reader, Stack, fused_weights
from models.meta import fill_silent, member_answers

_SPAN: Final = ATTRIBUTE_MAX - ATTRIBUTE_MIN


class FusedEnsemble(nn.Module):
    """What an `Ensemble` says, computed together; for inference only.

    Weights are buffers and move with `.to(...)`. Control flow depends on shapes alone: one CUDA graph serves every
    batch of a shape.

    Attributes:
        member_names: in the order of `member_outputs`.
        labels: what the positions of every score mean.
        modalities: the inputs.
    """

    order: Tensor
    reads: Tensor
    temperature: Tensor

    def __init__(self, ensemble: Ensemble, dtype: torch.dtype = torch.float32) -> None:
        """Takes over the weights of a trained ensemble; it holds copies of its own.

        Args:
            ensemble: whose answers to give.
            dtype: of the members. What features are standardised with, the meta-classifier and the calibration stay in
                single precision: they cost nothing, and what is lost in them is lost in every score.
        """
        super().__init__()
        self.member_names = ensemble.member_names
        self.labels = ensemble.labels
        self.modalities = ensemble.modalities
        members = [member for member in ensemble.members if isinstance(member, DeepSER)]
        stacks = fused_weights((member.config, member.numpy_state()) for member in members)
        readers = {_standard(reader): reader for stack in stacks for reader in stack.readers}
        self._read = tuple(reader.modality for reader in readers.values())
        self.standards = nn.ModuleList(Standardisation(reader) for reader in readers.values())
        places = {key: place for place, key in enumerate(readers)}
        self.stacks = nn.ModuleList(
            _OfOneShape(stack, [places[_standard(reader)] for reader in stack.readers]) for stack in stacks
        ).to(dtype)
        order = torch.tensor([place for stack in stacks for place in stack.places]).argsort()
        self.register_buffer("order", order)
        names = [modality.name for modality in self.modalities]
        self.register_buffer("reads", torch.tensor([[n in m.config.modalities for n in names] for m in members]))
        self.meta = copy.deepcopy(ensemble.meta)
        self.register_buffer("temperature", ensemble.get_buffer("temperature").detach().clone())
        self.eval().requires_grad_(False)

    def member_outputs(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> MemberOutputs:
        """Every member's own answer; as `Ensemble.member_outputs`, in the precision of the meta-classifier."""
        dtype = next(self.stacks.buffers()).dtype
        clock = _Clock({name: lengths_to_mask(inputs[name], lengths[name]) for name in inputs}, dtype)
        standard = [one(inputs[name]).to(dtype) for name, one in zip(self._read, self.standards, strict=True)]
        answers = [answer for stack in self.stacks for answer in stack(standard, clock)]
        logits, rated = (torch.cat(parts).index_select(0, self.order) for parts in zip(*answers, strict=True))
        probabilities = torch.softmax(logits.to(self.temperature.dtype), dim=-1).transpose(0, 1)
        attributes = ATTRIBUTE_MIN + _SPAN * torch.sigmoid(rated.to(self.temperature.dtype)).transpose(0, 1)
        there = torch.stack([lengths[modality.name] > 0 for modality in self.modalities], dim=1)
        return MemberOutputs(*fill_silent(probabilities, attributes, (there[:, None] & self.reads).any(dim=-1)))

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> EnsembleOutput:
        """Calibrated scores; as `Ensemble.forward`."""
        logits, attributes = self.meta(member_answers(*self.member_outputs(inputs, lengths)))
        return EnsembleOutput(torch.softmax(logits / self.temperature, dim=-1), attributes)


class Standardisation(nn.Module):
    """Features brought to zero mean and unit deviation, once for all members that were trained on the same."""

    mean: Tensor
    scale: Tensor

    def __init__(self, reader: Reader) -> None:
        """Takes what a reader subtracts, and multiplies by."""
        super().__init__()
        self.register_buffer("mean", buffer(reader.mean))
        self.register_buffer("scale", buffer(reader.scale))

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, time, dim]` to `[batch * time, dim]`."""
        return (x.flatten(0, 1) - self.mean).mul_(self.scale)


class _Clock:
    """The masks of a batch, and what layers need of them, for each order in which modalities follow one another."""

    def __init__(self, masks: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self._masks = masks
        self._dtype = dtype
        self._times: dict[tuple[str, ...], Times] = {}

    def times(self, modalities: tuple[str, ...]) -> Times:
        if modalities not in self._times:
            mask = _joined([self._masks[name] for name in modalities], dim=1)
            self._times[modalities] = Times(mask, self._dtype)
        return self._times[modalities]


class _Readers(nn.Module):
    """The encoders of one modality, for all members of a shape that read it."""

    layers: Tensor | None

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.register_buffer("layers", None if reader.layers is None else buffer(reader.layers))
        self.encoders = Encoders(reader.encoder, shared=reader.layers is None)

    def forward(self, x: Tensor, times: Times) -> States:
        """Standardised features `[batch * time, dim]` to the members' states."""
        if self.layers is not None:
            side_by_side = x.view(len(x), self.layers.shape[1], -1)
            x = torch.bmm(self.layers.expand(len(x), -1, -1), side_by_side).transpose(0, 1)
        states: States = self.encoders(x, times)
        return states


class _Fusions(nn.Module):
    """What members of a shape that read the same modalities do with what their encoders say."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.modalities = fusion.modalities
        self.rows = fusion.rows
        self.first = None if fusion.first is None else Encoders(fusion.first)
        self.second = None if fusion.second is None else Encoders(fusion.second)
        self.latent = Linears(fusion.latent)
        self.to_logits = Linears(fusion.to_logits)
        self.to_attributes = Linears(fusion.to_attributes)

    def forward(self, states: Sequence[States], clock: _Clock) -> tuple[Tensor, Tensor]:
        """Logits `[members, batch, labels]`, and `[members, batch, 3]` to which a sigmoid is still to be applied."""
        own: list[States] = []
        for name in self.modalities:
            reader, start, stop = self.rows[name]
            own.append(States(*(part[start:stop] for part in states[reader])))
        summaries = [state.h3 for state in own]
        if self.first is not None and self.second is not None:
            first_input = _joined([state.h1 for state in own], dim=2).flatten(1, 2)
            first = self.first(first_input, clock.times(self.modalities))
            second_input = _joined([*(state.h2 for state in own), first.h2], dim=2).flatten(1, 2)
            summaries.append(self.second(second_input, clock.times((*self.modalities, *self.modalities))).h3)
        hidden = functional.relu(self.latent(_joined(summaries, dim=2)))
        return self.to_logits(hidden), self.to_attributes(hidden)


class _OfOneShape(nn.Module):
    """All members of one shape."""

    def __init__(self, stack: Stack, inputs: Sequence[int]) -> None:
        """Takes the weights, and for each reader which of the standardised inputs it reads."""
        super().__init__()
        self._reads = tuple((place, reader.modality) for place, reader in zip(inputs, stack.readers, strict=True))
        self.readers = nn.ModuleList(_Readers(reader) for reader in stack.readers)
        self.fusions = nn.ModuleList(_Fusions(fusion) for fusion in stack.fusions)

    def forward(self, standard: Sequence[Tensor], clock: _Clock) -> list[tuple[Tensor, Tensor]]:
        """What each of `fusions` answers."""
        states = [
            reader(standard[place], clock.times((modality,)))
            for (place, modality), reader in zip(self._reads, self.readers, strict=True)
        ]
        return [fusion(states, clock) for fusion in self.fusions]


def _standard(reader: Reader) -> tuple[str, bytes]:
    """Two readers that are alike in this read the same input."""
    return reader.modality, reader.mean.tobytes() + reader.scale.tobytes()


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    return torch.cat(list(parts), dim=dim) if len(parts) > 1 else parts[0]
