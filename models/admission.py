"""Whether an engine's answers are those of the bundle: PyTorch, members one by one, decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.engines.base import Engine, EngineOutput
from models.errors import EngineError
from models.modalities import EngineInputs, Modality, PaddedBatch, TokenBatch, pad, pad_tokens

TOLERANCE: Final = 1e-4
"""Largest difference of any score from PyTorch's at which an engine in single precision is admitted."""

_LEAST_ROWS: Final = 12
_FRAMES: Final = (1, 60)
_PLAIN_TOKENS: Final = (1000, 20_000)
"""Of BERT's vocabulary: words and parts of words, no special token."""
_OPENS, _CLOSES = 101, 102
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an engine's answers compare with PyTorch's."""

    largest_difference: float
    """Of any probability, or attribute divided by its range."""
    label_agreement: float
    """Share of rows with the same most probable label."""
    rows: int


class Reference:
    """PyTorch, members one by one, text encoders through transformers: what every engine is held to."""

    def __init__(self, bundle: Bundle, text: Mapping[str, TextSource]) -> None:
        """Builds it.

        Args:
            bundle: whose answers count.
            text: by modality, the encoders of tokens.

        Raises:
            BundleError: its weights do not fit its manifest.
            WeightsError: a text encoder cannot be loaded.
        """
        from models.engines.torch import TorchEngine

        self._engine = TorchEngine(bundle)
        self._dims = {modality.name: modality.dim for modality in bundle.modalities}
        self._encoders = {name: source.encoder() for name, source in text.items()}

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores features and tokens alike.

        Raises:
            FeatureError: as `Engine.run`.
        """
        return self._engine.run({name: self._features(name, batch) for name, batch in inputs.items()})

    def _features(self, name: str, batch: PaddedBatch | TokenBatch) -> PaddedBatch:
        if isinstance(batch, PaddedBatch):
            return batch
        texts = [row[: length + 2] for row, length in zip(batch.tokens, batch.lengths, strict=True) if length]
        features = iter(self._encoders[name].encode_tokens(texts))
        return pad([next(features) if length else None for length in batch.lengths], self._dims[name])


def admit(engine: Engine, bundle: Bundle, text: Mapping[str, TextSource]) -> Agreement:
    """Compares an engine with PyTorch on random inputs of many lengths, modalities missing in every combination.

    Args:
        engine: to be checked.
        bundle: what it runs.
        text: by modality, the encoders of what the engine reads as tokens.

    Raises:
        EngineError: it does not agree to `TOLERANCE`.
    """
    inputs = check_inputs(bundle.modalities, engine.reads_tokens)
    inside = {name: source for name, source in text.items() if name in engine.reads_tokens}
    found = agreement(Reference(bundle, inside).run(inputs), engine.run(inputs))
    # Not `>`: a difference that is not a number must not pass.
    if not found.largest_difference <= TOLERANCE:
        raise EngineError(
            f"the engine differs from PyTorch by {found.largest_difference:.1e}, more than {TOLERANCE:.0e}"
        )
    return found


def agreement(reference: EngineOutput, found: EngineOutput) -> Agreement:
    """How far two answers to the same batch lie apart."""
    scores = np.abs(reference.probabilities - found.probabilities).max()
    attributes = np.abs(reference.attributes - found.attributes).max() / (ATTRIBUTE_MAX - ATTRIBUTE_MIN)
    agreed = reference.probabilities.argmax(axis=1) == found.probabilities.argmax(axis=1)
    return Agreement(float(np.maximum(scores, attributes)), float(agreed.mean()), len(agreed))


def check_inputs(
    modalities: tuple[Modality, ...], reads_tokens: frozenset[str] = frozenset()
) -> dict[str, PaddedBatch | TokenBatch]:
    """Random inputs, the same every time: other lengths in each row, and every combination of modalities there is."""
    rng = np.random.default_rng(_SEED)
    combinations = 2 ** len(modalities) - 1
    rows = max(_LEAST_ROWS, combinations)
    inputs: dict[str, PaddedBatch | TokenBatch] = {}
    for position, modality in enumerate(modalities):
        lengths = [
            int(rng.integers(*_FRAMES)) if (row % combinations + 1) >> position & 1 else 0 for row in range(rows)
        ]
        if modality.name in reads_tokens:
            inputs[modality.name] = pad_tokens([_tokens(rng, length) if length else None for length in lengths])
            continue
        frames = [
            rng.standard_normal((length, modality.dim)).astype(np.float32) if length else None for length in lengths
        ]
        inputs[modality.name] = pad(frames, modality.dim)
    return inputs


def _tokens(rng: np.random.Generator, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([[_OPENS], rng.integers(*_PLAIN_TOKENS, size=length), [_CLOSES]]).astype(np.int64)
