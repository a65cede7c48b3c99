"""Backbones as the feature store sees them: what they read, what may share a batch, and how to run one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.backbones.prosody import ProsodyExtractor
from models.backbones.registry import BackboneSpec, backbone
from models.backbones.sources import backbone_folder
from models.backbones.speech import SpeechEncoder
from models.backbones.text import TextEncoder
from models.backbones.whisper import WhisperEncoder
from models.errors import FeatureError
from models.weights import WeightsSettings
from models.windows import FINAL_WINDOWS, WindowPolicy
from trainer.corpora.manifest import Utterance
from trainer.feature_policy import WHISPER_ARITHMETIC

SPEECH_BATCH: Final = 1
"""On a CPU one clip already fills the cores; what more of them need does not fit the caches and takes almost twice as
long."""
TEXT_BATCH: Final = 32
BATCH_S: Final[Mapping[str, float]] = {"cpu": 60.0, "cuda": 480.0}
"""Seconds of audio a batch of a speech encoder holds, padding included, by the device it computes on."""
_TEXT_BUCKET_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What an extractor reads of one utterance."""

    id: str
    samples: NDArray[np.float32] | None = None
    """`[samples]` at 16 kHz mono, the view applied; None for an extractor of text."""
    text: str = ""


def applies(spec: BackboneSpec, utterance: Utterance) -> bool:
    """Whether an utterance has what a backbone reads; where not, the modality is missing there, and that is no fault.

    Args:
        spec: of the backbone.
        utterance: audio for an acoustic backbone; for a linguistic one a transcript in a language it knows.
    """
    if spec.kind == "acoustic":
        return utterance.audio is not None
    known = spec.languages is None or utterance.language in spec.languages
    return known and bool(utterance.text and utterance.text.strip())


class Extractor(Protocol):
    """A frozen backbone that turns clips into features."""

    def room(self, clip: Clip) -> int:
        """Most clips a call, of this one's bucket."""
        ...

    def bucket(self, clip: Clip) -> Hashable:
        """Clips of equal buckets may share a batch.

        Raises:
            FeatureError: the clip cannot be encoded at all.
        """
        ...

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """Features, `[frames, dim]` each.

        Args:
            clips: of one bucket, at most its `room`.

        Raises:
            FeatureError: one of them cannot be encoded.
        """
        ...


class SpeechFeatures:
    """A layer of the live path's Whisper encoder, under its window policy."""

    def __init__(
        self, encoder: WhisperEncoder, layer: int | None = None, windows: WindowPolicy = FINAL_WINDOWS
    ) -> None:
        """Takes an encoder opened for a layer, that layer, and the windows to pad clips to."""
        self._encoder = encoder
        self._layer = layer
        self._windows = windows

    def room(self, clip: Clip) -> int:
        """The same for all."""
        return SPEECH_BATCH

    def bucket(self, clip: Clip) -> Hashable:
        """The window the clip is padded to."""
        return self._windows.bucket_s(_samples_of(clip).size)

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """The encoder's frames that hold real audio, at 50 Hz."""
        segments = [_samples_of(clip) for clip in clips]
        window_s = max(self._windows.bucket_s(segment.size) for segment in segments)
        return list(self._encoder.encode(segments, window_s).frames[self._layer])


class CheckpointFeatures:
    """A speech encoder through transformers: batches budgeted by seconds of audio, clips of like length together."""

    def __init__(self, encoder: SpeechEncoder, batch_s: float | None = None) -> None:
        """Takes a loaded encoder, and seconds of audio a batch; by its device if None."""
        self._encoder = encoder
        self._batch_s = BATCH_S[encoder.device.type] if batch_s is None else batch_s

    def room(self, clip: Clip) -> int:
        """As many as fill the budget; one where the model must not hear padding."""
        if not self._encoder.batches:
            return 1
        return max(1, int(self._batch_s / self._encoder.padded_s(_samples_of(clip).size)))

    def bucket(self, clip: Clip) -> Hashable:
        """Seconds of the clip with its padding."""
        return self._encoder.padded_s(_samples_of(clip).size)

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """The encoder's frames of real audio."""
        return self._encoder.encode([_samples_of(clip) for clip in clips])


class ProsodyFeatures:
    """The prosody stream."""

    def __init__(self, extractor: ProsodyExtractor) -> None:
        """Takes a loaded extractor."""
        self._extractor = extractor

    def room(self, clip: Clip) -> int:
        """One by one."""
        return 1

    def bucket(self, clip: Clip) -> Hashable:
        """Any clip will do: they are taken one by one."""
        return _samples_of(clip).ndim

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """The prosody stream at 50 Hz."""
        return [self._extractor.extract(_samples_of(clip)) for clip in clips]


class TextFeatures:
    """The text encoder, on the manifest's transcript."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Takes a loaded encoder."""
        self._encoder = encoder

    def room(self, clip: Clip) -> int:
        """The same for all."""
        return TEXT_BATCH

    def bucket(self, clip: Clip) -> Hashable:
        """Texts of like length, so that little is padding."""
        return len(clip.text) // _TEXT_BUCKET_CHARACTERS

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """One row a token."""
        return self._encoder.encode([clip.text for clip in clips])


def open_extractor(
    source: str | BackboneSpec, weights: WeightsSettings | None = None, *, threads: int = 0, device: str = "auto"
) -> Extractor:
    """Loads a backbone, its weights fetched first where the cache has them not.

    Args:
        source: the backbone, or its name in the registry.
        weights: where weights come from; None reads the configuration.
        threads: CPU threads of the live path's Whisper encoder; 0 lets it choose.
        device: where transformers computes: `auto` takes a GPU where there is one.

    Raises:
        FeatureError: there is no such backbone or device.
        WeightsError: its weights cannot be had, or are another model's.
    """
    spec = backbone(source) if isinstance(source, str) else source
    if spec.architecture == "prosody":
        return ProsodyFeatures(ProsodyExtractor())
    folder = backbone_folder(spec, weights, progress=True)
    if spec.architecture == "ctranslate2":
        layer = spec.hidden_layer
        encoder = WhisperEncoder(
            folder, layers=(layer,), decodes=False, compute_type=WHISPER_ARITHMETIC, threads=threads
        )
        return SpeechFeatures(encoder, layer)
    if spec.kind == "linguistic":
        return TextFeatures(
            TextEncoder(folder, architecture=spec.architecture, layers=spec.layers, stacked=spec.stacked, device=device)
        )
    return CheckpointFeatures(
        SpeechEncoder(folder, spec.architecture, layers=spec.layers, stacked=spec.stacked, device=device)
    )


def _samples_of(clip: Clip) -> NDArray[np.float32]:
    if clip.samples is None:
        raise FeatureError(f"{clip.id}: no audio to read")
    return clip.samples
