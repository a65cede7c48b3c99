"""What every engine is held to: PyTorch, members one by one, encoders through transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import MelBatch
from models.backbones.speech_source import SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.engines.base import EngineOutput
from models.errors import FeatureError
from models.modalities import SPECIAL_TOKENS, EngineBatch, EngineInputs, PaddedBatch, TokenBatch, pad


class Reference:
    """Encoders and members of a bundle, one after the other."""

    def __init__(
        self,
        bundle: Bundle,
        text: Mapping[str, TextSource],
        speech: Mapping[str, SpeechSource] = MappingProxyType({}),
    ) -> None:
        """Builds it.

        Args:
            bundle: whose answers count.
            text: by modality, the encoders of tokens.
            speech: by modality, the encoders of audio.

        Raises:
            BundleError: its weights do not fit its manifest.
            WeightsError: an encoder cannot be loaded.
        """
        from models.engines.torch import TorchEngine

        self._engine = TorchEngine(bundle)
        self._modalities = {modality.name: modality for modality in bundle.modalities}
        self._encoders = {name: source.encoder() for name, source in text.items()}
        self._ears = {name: source.encoder(bundle.final_windows) for name, source in speech.items()}

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores features, tokens and audio alike.

        Raises:
            FeatureError: as `Engine.run`.
        """
        return self._engine.run(self.features(inputs))

    def features(self, inputs: EngineInputs) -> dict[str, PaddedBatch]:
        """The same inputs as features throughout: what is tokens or audio is encoded.

        Raises:
            FeatureError: spectrograms, which encoders in PyTorch make themselves, or audio that cannot be encoded.
        """
        return {name: self._features(name, batch) for name, batch in inputs.items()}

    def _features(self, name: str, batch: EngineBatch) -> PaddedBatch:
        modality = self._modalities[name]
        if isinstance(batch, PaddedBatch):
            return batch
        if isinstance(batch, MelBatch):
            raise FeatureError(f"{name} is a spectrogram: the reference encodes audio")
        encoded: Iterator[NDArray[np.float32]]
        if isinstance(batch, TokenBatch):
            texts = [
                row[: length + SPECIAL_TOKENS]
                for row, length in zip(batch.tokens, batch.lengths, strict=True)
                if length
            ]
            encoded = iter(self._encoders[name].encode_tokens(texts))
        else:
            frames = self._ears[name].encode([clip for clip in batch.clips() if clip is not None])
            encoded = iter([modality.group(own) for own in frames])
        return pad([next(encoded) if length else None for length in batch.lengths], modality.dim)
