"""Backbones as the feature store sees them: what they read, what may share a batch, and how to run one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.backbones.prosody import ProsodyExtractor
from models.backbones.registry import BackboneSpec, backbone
from models.backbones.text import TextEncoder
from models.backbones.whisper import WhisperEncoder
from models.errors import FeatureError
from models.weights import WeightsSettings, weights_folder
from models.windows import FINAL_WINDOWS, WindowPolicy
from trainer.corpora.manifest import Utterance
from trainer.feature_policy import WHISPER_ARITHMETIC

SPEECH_BATCH: Final = 1
"""On a CPU one clip already fills the cores; what more of them need does not fit the caches and takes almost twice as
long."""
TEXT_BATCH: Final = 32
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

    batch: int
    """Most clips a call."""

    def bucket(self, clip: Clip) -> Hashable:
        """Clips of equal buckets may share a batch.

        Raises:
            FeatureError: the clip cannot be encoded at all.
        """
        ...

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """Features, `[frames, dim]` each.

        Args:
            clips: of one bucket, at most `batch`.

        Raises:
            FeatureError: one of them cannot be encoded.
        """
        ...


class SpeechFeatures:
    """The Whisper encoder, under the window policy of the live path."""

    batch = SPEECH_BATCH

    def __init__(self, encoder: WhisperEncoder, windows: WindowPolicy = FINAL_WINDOWS) -> None:
        """Takes a loaded encoder and the windows to pad clips to."""
        self._encoder = encoder
        self._windows = windows

    def bucket(self, clip: Clip) -> Hashable:
        """The window the clip is padded to."""
        return self._windows.bucket_s(_samples_of(clip).size)

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """The encoder's frames that hold real audio, at 50 Hz."""
        segments = [_samples_of(clip) for clip in clips]
        window_s = max(self._windows.bucket_s(segment.size) for segment in segments)
        return list(self._encoder.encode(segments, window_s).frames)


class ProsodyFeatures:
    """The prosody stream."""

    batch = 1

    def __init__(self, extractor: ProsodyExtractor) -> None:
        """Takes a loaded extractor."""
        self._extractor = extractor

    def bucket(self, clip: Clip) -> Hashable:
        """Any clip will do: they are taken one by one."""
        return _samples_of(clip).ndim

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """The prosody stream at 50 Hz."""
        return [self._extractor.extract(_samples_of(clip)) for clip in clips]


class TextFeatures:
    """The text encoder, on the manifest's transcript."""

    batch = TEXT_BATCH

    def __init__(self, encoder: TextEncoder) -> None:
        """Takes a loaded encoder."""
        self._encoder = encoder

    def bucket(self, clip: Clip) -> Hashable:
        """Texts of like length, so that little is padding."""
        return len(clip.text) // _TEXT_BUCKET_CHARACTERS

    def encode(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """One row a token."""
        return self._encoder.encode([clip.text for clip in clips])


def open_extractor(name: str, weights: WeightsSettings | None = None, *, threads: int = 0) -> Extractor:
    """Loads a backbone, its weights fetched first where the cache has them not.

    Args:
        name: of the backbone, in the registry.
        weights: where weights come from; None reads the configuration.
        threads: CPU threads of the speech encoder; 0 lets it choose.

    Raises:
        FeatureError: there is no such backbone, or none that can be extracted here.
        WeightsError: its weights cannot be had.
    """
    spec = backbone(name)
    if name == "prosody":
        return ProsodyFeatures(ProsodyExtractor())
    if spec.weights is None:
        raise FeatureError(f"backbone {name!r} has no weights and no extractor")
    folder: Path = weights_folder(spec.weights, weights, progress=True)
    if spec.kind == "linguistic":
        return TextFeatures(TextEncoder(folder))
    return SpeechFeatures(WhisperEncoder(folder, compute_type=WHISPER_ARITHMETIC, threads=threads))


def _samples_of(clip: Clip) -> NDArray[np.float32]:
    if clip.samples is None:
        raise FeatureError(f"{clip.id}: no audio to read")
    return clip.samples
