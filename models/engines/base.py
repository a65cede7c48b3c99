"""The engine protocol: whatever runs an ensemble looks like this to the rest of the house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.modalities import EngineInputs, Modality


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """Calibrated scores of a batch."""

    probabilities: NDArray[np.float32]
    """`[batch, labels]`, rows sum to 1."""
    attributes: NDArray[np.float32]
    """`[batch, 3]`: arousal, valence, dominance, each 1 to 7."""


@runtime_checkable
class Engine(Protocol):
    """An ensemble that answers batches."""

    @property
    def name(self) -> str:
        """What runs it: `torch`, `onnx`, `tensorrt`."""
        ...

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs it reads."""
        ...

    @property
    def reads_tokens(self) -> frozenset[str]:
        """Modalities whose text encoder is inside: they are given as tokens, the others as features."""
        ...

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; thread-safe.

        Args:
            inputs: one batch per modality name, all of the same batch size. A row whose length is 0 in a
                modality is an example without it; at least one modality must be present in every row. A modality
                that is left out of the mapping is missing in every row.

        Raises:
            FeatureError: the shapes do not fit, or a row has nothing to read.
        """
        ...
