"""The engine everyone else is checked against: PyTorch, eager."""

from __future__ import annotations

from typing import Final

import torch

from models.bundle import Bundle
from models.engines.base import NO_MEL, EngineOutput
from models.inputs import complete_features
from models.modalities import EngineInputs, Modality


class TorchEngine:
    """Runs a bundle's ensemble in PyTorch on the CPU; thread-safe, since weights are only read."""

    name = "torch"
    reads_tokens: Final[frozenset[str]] = frozenset()
    reads_audio: Final[frozenset[str]] = frozenset()
    reads_mel: Final = NO_MEL

    def __init__(self, bundle: Bundle) -> None:
        """Builds the ensemble.

        Args:
            bundle: what to run.

        Raises:
            BundleError: its weights do not fit its manifest.
        """
        self.ensemble = bundle.ensemble()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs it reads."""
        return self.ensemble.modalities

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        full = complete_features(inputs, self.modalities)
        features = {name: torch.from_numpy(batch.features) for name, batch in full.items()}
        lengths = {name: torch.from_numpy(batch.lengths) for name, batch in full.items()}
        with torch.inference_mode():
            output = self.ensemble(features, lengths)
        return EngineOutput(output.probabilities.numpy(), output.attributes.numpy())
