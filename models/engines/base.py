"""The engine protocol: whatever runs an ensemble looks like this to the rest of the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.modalities import EngineInputs, Modality

NO_MEL: Final[Mapping[str, int]] = MappingProxyType({})
"""`Engine.reads_mel` where no Whisper encoder is inside."""
SINGLE: Final = "fp32"
"""The precision that PyTorch computes in, and every engine can."""
ON_A_GPU: Final = frozenset({"cuda", "tensorrt"})
"""Names of engines that compute on an NVIDIA card."""


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
        """What runs it: `torch`, `onnx`, `cuda`, `tensorrt`."""
        ...

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs it reads."""
        ...

    @property
    def reads_tokens(self) -> frozenset[str]:
        """Modalities whose text encoder is inside: they are given as tokens, the others as features."""
        ...

    @property
    def reads_audio(self) -> frozenset[str]:
        """Modalities whose speech encoder is inside and hears the waveform: they are given as audio.

        These and `reads_mel` are given the same clips, or left out together.
        """
        ...

    @property
    def reads_mel(self) -> Mapping[str, int]:
        """Modalities whose Whisper encoder is inside, each with its mel bands: they are given as spectrograms."""
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
