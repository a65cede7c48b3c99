"""Examples in memory, ready to be batched: targets, attributes and the features of each modality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.emotions import LabelSet
from models.modalities import pad
from models.speaker import UNHEARD, SpeakerMoments, SpeakerStandardisation
from trainer.augment import CLEAN
from trainer.errors import CorpusError
from trainer.sampling import Indices
from trainer.speakers import SpeakerHistory

Features = Mapping[str, NDArray[np.float16] | None]


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance (in one acoustic view) as training sees it."""

    id: str
    corpus: str
    speaker: str
    target: NDArray[np.float32]
    """Soft target, `[labels]`."""
    ambiguous: bool
    """True where annotators reached no agreement (XO)."""
    attributes: NDArray[np.float32] | None
    """`[3]`, or None where they were not rated."""
    features: Features
    """Per modality `[frames, dim]`, or None where it is missing."""
    spoken: bool = True
    """False where there is text alone."""
    moments: SpeakerMoments = field(default_factory=lambda: UNHEARD)
    """Of the modalities that are standardised to the speaker."""
    view: str = CLEAN
    """What its waveform went through."""
    for_development: bool = False
    """True where its corpus sets it aside to choose by."""
    possible: NDArray[np.bool_] | None = None
    """Classes its corpus tells of, `[labels]`; None for all."""

    @property
    def utterance(self) -> str:
        """The id of the utterance, which its views share."""
        return self.id.removesuffix(f"@{self.view}")

    @property
    def channel(self) -> str:
        """The speaker as this view hears them: what is known of a voice on one line is not true of it on another."""
        return self.speaker if self.view == CLEAN else f"{self.speaker}@{self.view}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of some examples, for one member."""

    inputs: dict[str, Tensor]
    """Per modality `[batch, time, dim]`."""
    masks: dict[str, Tensor]
    """Per modality `[batch, time]`, True on real frames."""
    targets: Tensor
    """`[batch, labels]`."""
    attributes: Tensor
    """`[batch, 3]`, zeros where not known."""
    known: Tensor
    """`[batch]`, 1 where the attributes are known."""
    possible: Tensor
    """`[batch, labels]`, 1 on the classes an example may be of."""

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            masks={name: tensor.to(device) for name, tensor in self.masks.items()},
            targets=self.targets.to(device),
            attributes=self.attributes.to(device),
            known=self.known.to(device),
            possible=self.possible.to(device),
        )


class TrainingSet:
    """Examples that share a label set; joined by id, never by position.

    Attributes:
        targets: `[examples, labels]`.
        dominant: `[examples]`, the strongest class of each.
        possible: `[examples, labels]`, the classes that the example's corpus tells of.
        ambiguous: `[examples]`.
        spoken: `[examples]`, False where there is text alone.
        lengths: `[examples]`, frames of the longest modality.
        utterances: `[examples]`, a number that the views of one utterance share.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        labels: LabelSet,
        dims: Mapping[str, int],
        standardisation: SpeakerStandardisation | None = None,
    ) -> None:
        """Lays the examples out.

        Args:
            examples: in any order; ids must differ.
            labels: what the positions of every target mean.
            dims: features a frame, by modality.
            standardisation: how features are brought relative to their speaker; none leaves them as they are.

        Raises:
            CorpusError: an id stands twice, or a target does not fit the labels.
        """
        self.examples = list(examples)
        self.labels = labels
        self.dims = dict(dims)
        self.standardisation = standardisation or SpeakerStandardisation({})
        self._history = SpeakerHistory(self.examples) if standardisation else None
        self.positions = {example.id: i for i, example in enumerate(self.examples)}
        if len(self.positions) != len(self.examples):
            raise CorpusError("the same id stands on two examples: ids must be unique to join features and labels")
        wrong = [example.id for example in self.examples if example.target.shape != (len(labels),)]
        if wrong:
            raise CorpusError(
                f"targets of {len(wrong)} examples do not fit the {len(labels)} labels, first: {wrong[0]}"
            )
        count = len(self.examples)
        self.targets = np.stack([e.target for e in self.examples]) if count else np.zeros((0, len(labels)), np.float32)
        self.possible = np.ones((count, len(labels)), dtype=np.bool_)
        for row, example in enumerate(self.examples):
            if example.possible is not None:
                self.possible[row] = example.possible
        self.dominant: Indices = self.targets.argmax(axis=1).astype(np.int64)
        self.ambiguous = np.array([e.ambiguous for e in self.examples], dtype=np.bool_)
        self.spoken = np.array([e.spoken for e in self.examples], dtype=np.bool_)
        self.lengths: Indices = np.array(
            [max((f.shape[0] for f in e.features.values() if f is not None), default=0) for e in self.examples],
            dtype=np.int64,
        )

        numbers: dict[str, int] = {}
        self.utterances: Indices = np.array(
            [numbers.setdefault(e.utterance, len(numbers)) for e in self.examples], dtype=np.int64
        )

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def corpora(self) -> list[str]:
        """Corpus name of each example."""
        return [example.corpus for example in self.examples]

    def fingerprint(self) -> str:
        """SHA-256 of what the examples are: ids, speakers, targets, what they may be, attributes, how many frames."""
        digest = hashlib.sha256()
        for e in self.examples:
            rated = None if e.attributes is None else e.attributes.tolist()
            frames = {name: None if f is None else f.shape[0] for name, f in e.features.items()}
            possible = None if e.possible is None else e.possible.tolist()
            stated = (e.id, e.speaker, e.target.tolist(), possible, e.ambiguous, rated, frames)
            digest.update(json.dumps(stated, sort_keys=True).encode())
        return digest.hexdigest()

    def select(self, indices: Indices) -> TrainingSet:
        """The examples at `indices`, in that order."""
        return TrainingSet([self.examples[i] for i in indices], self.labels, self.dims, self._given_standardisation)

    def standardised(self, standardisation: SpeakerStandardisation) -> TrainingSet:
        """The same examples, brought relative to their speakers."""
        return TrainingSet(self.examples, self.labels, self.dims, standardisation)

    @property
    def _given_standardisation(self) -> SpeakerStandardisation | None:
        return self.standardisation if self._history is not None else None

    def readable(self, modalities: Sequence[str]) -> TrainingSet:
        """The examples that have at least one of `modalities`."""
        kept = [i for i, e in enumerate(self.examples) if any(e.features.get(m) is not None for m in modalities)]
        return self.select(np.array(kept, dtype=np.int64))

    def collate(
        self, indices: Indices, modalities: Sequence[str], *, drop: float = 0.0, rng: np.random.Generator | None = None
    ) -> Batch:
        """Pads the features of some examples.

        Args:
            indices: which examples.
            modalities: which of their modalities.
            drop: probability that an example loses one of its modalities, where it has more than one, so that members
                learn to do without.
            rng: in training, the source of that chance, and of what was heard of each speaker before; without it,
                speakers are heard in the order of the evaluation.
        """
        chosen = [self.examples[i] for i in indices]
        heard = [self._heard(int(i), rng) for i in indices]
        held = [[m for m in modalities if e.features.get(m) is not None] for e in chosen]
        if drop > 0 and rng is not None:
            for names in held:
                if len(names) > 1 and rng.random() < drop:
                    names.pop(int(rng.integers(len(names))))
        inputs: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for modality in modalities:
            rows = [
                self.standardisation.standardise(modality, np.asarray(e.features[modality], dtype=np.float32), before)
                if modality in names
                else None
                for e, names, before in zip(chosen, held, heard, strict=True)
            ]
            batch = pad(rows, self.dims[modality])
            inputs[modality] = torch.from_numpy(batch.features)
            masks[modality] = torch.from_numpy(batch.mask)
        known = np.array([e.attributes is not None for e in chosen], dtype=np.float32)
        attributes = np.stack([np.zeros(3, np.float32) if e.attributes is None else e.attributes for e in chosen])
        return Batch(
            inputs=inputs,
            masks=masks,
            targets=torch.from_numpy(self.targets[indices]),
            attributes=torch.from_numpy(attributes),
            known=torch.from_numpy(known),
            possible=torch.from_numpy(self.possible[indices].astype(np.float32)),
        )

    def _heard(self, position: int, rng: np.random.Generator | None) -> SpeakerMoments:
        if self._history is None:
            return UNHEARD
        return self._history.running(position) if rng is None else self._history.drawn(position, rng)

    def statistics(self, modality: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of every feature over all frames, each `[dim]`, for standardisation.

        Of a modality that is standardised to the speaker there is nothing left to do: 0 and 1.
        """
        if modality in self.standardisation.priors:
            return np.zeros(self.dims[modality], np.float32), np.ones(self.dims[modality], np.float32)
        total = np.zeros(self.dims[modality], dtype=np.float64)
        squares = np.zeros_like(total)
        frames = 0
        for example in self.examples:
            features = example.features.get(modality)
            if features is None:
                continue
            values = features.astype(np.float64)
            total += values.sum(axis=0)
            squares += np.square(values).sum(axis=0)
            frames += values.shape[0]
        if frames == 0:
            return np.zeros(self.dims[modality], np.float32), np.ones(self.dims[modality], np.float32)
        mean = total / frames
        deviation = np.sqrt(np.maximum(squares / frames - mean**2, 1e-8))
        return mean.astype(np.float32), deviation.astype(np.float32)
