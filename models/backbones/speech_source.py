"""Where a bundle's speech encoders are that can stand inside an engine, and the three ways in which one is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.audio_batches import LEAST_MEL_FRAMES, AudioBatch, MelBatch
from models.backbones.registry import BackboneSpec, LocalCheckpoint, backbone
from models.backbones.sources import backbone_folder, backbone_hashes
from models.errors import FeatureError, WeightsError
from models.graphs.checkpoint import PREPROCESSOR_FILE, WEIGHTS_FILE, read_description, single_precision_bytes
from models.weights_settings import WeightsSettings
from models.windows import ENCODER_HOP_SAMPLES, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, WindowPolicy

if TYPE_CHECKING:
    from models.backbones.log_mel import LogMel
    from models.backbones.registry import Architecture
    from models.backbones.speech import SpeechEncoder
    from models.bundle import Bundle
    from models.bundle_manifest import BackboneEntry
    from models.graphs.speech import SpeechGraph
    from models.graphs.whisper import WhisperGraph

_LOG: Final = logging.getLogger(__name__)

HEARING: Final = frozenset({"wavlm", "hubert", "wav2vec2"})
"""Architectures that `models.graphs.speech` writes: these hear the waveform."""
WHISPER: Final = "whisper"
"""The one that `models.graphs.whisper` writes: it reads a spectrogram."""
_READ_OTHERWISE: Final = frozenset({"prosody", "ctranslate2"})
"""What is no checkpoint in the hub's format: nobody would expect it inside."""
_FOLDER: Final = "folder "
"""In front of where a local checkpoint lies, in a bundle's manifest."""

Ear = Callable[[AudioBatch], AudioBatch | MelBatch]
"""From clips to what an engine is given that has the encoder inside."""


class _Spectrogram(BaseModel):
    """What `preprocessor_config.json` of a Whisper says; only what `models.backbones.log_mel` makes is accepted."""

    model_config = ConfigDict(frozen=True)

    feature_size: int = 80
    sampling_rate: Literal[16_000] = SAMPLE_RATE_HZ
    hop_length: Literal[160] = MEL_HOP_SAMPLES
    n_fft: Literal[400] = 400
    dither: Literal[0] = 0


@dataclass(frozen=True, slots=True)
class SpeechSource:
    """The speech encoder of one modality."""

    folder: Path
    """In the hub's format."""
    architecture: str
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side; else they are summed."""
    hashes: Mapping[str, str]
    """SHA-256 by file."""

    def fault(self) -> str | None:
        """Why it cannot stand inside an engine; None where it can. Its weights are not read."""
        from models.graphs.speech import speech_shape
        from models.graphs.whisper import whisper_shape

        if self.architecture not in HEARING | {WHISPER}:
            return f"{self.architecture} is not written as a graph"
        if single_precision_bytes(self.folder) is None:
            return f"{self.folder} holds no {WEIGHTS_FILE} that can be read without PyTorch"
        try:
            if self.architecture == WHISPER:
                whisper_shape(self.folder, self.layers)
                self._spectrogram()
            else:
                speech_shape(self.folder, self.layers)
        except WeightsError as error:
            return str(error)
        return None

    def graph(self) -> SpeechGraph | WhisperGraph:
        """As ONNX nodes.

        Raises:
            WeightsError: it cannot be written.
        """
        from models.graphs.speech import SpeechGraph
        from models.graphs.whisper import WhisperGraph

        kind = WhisperGraph if self.architecture == WHISPER else SpeechGraph
        return kind.read(self.folder, layers=self.layers, stacked=self.stacked)

    def ear(self, windows: WindowPolicy) -> Ear:
        """What turns clips into what an engine is given that has the encoder inside.

        Args:
            windows: what Whisper pads clips to; all of a batch come in the longest window that one of them needs.

        Raises:
            WeightsError: it is a Whisper that reads another spectrogram than this release makes.
        """
        if self.architecture != WHISPER:
            return _as_it_is
        from models.backbones.log_mel import LogMel
        from models.graphs.whisper import whisper_shape

        longest = whisper_shape(self.folder, self.layers).max_source_positions
        return _Spectrograms(LogMel(self._spectrogram().feature_size), windows, longest).of

    def encoder(self, windows: WindowPolicy) -> SpeechEncoder:
        """The encoder in PyTorch.

        Args:
            windows: as for `ear`.

        Raises:
            WeightsError: the folder does not hold it.
        """
        from models.backbones.speech import SpeechEncoder

        return SpeechEncoder(
            self.folder, self.architecture, layers=self.layers, stacked=self.stacked, device="cpu", windows=windows
        )

    def _spectrogram(self) -> _Spectrogram:
        made = "made are log-mel spectrograms as Whisper's own preprocessor makes them"
        return read_description(_Spectrogram, self.folder / PREPROCESSOR_FILE, made)


def _as_it_is(audio: AudioBatch) -> AudioBatch:
    return audio


@dataclass(frozen=True, slots=True)
class _Spectrograms:
    log_mel: LogMel
    windows: WindowPolicy
    longest_frames: int
    """Of a window after the encoder."""

    def of(self, audio: AudioBatch) -> MelBatch:
        """Of clips side by side, silence where there is none.

        Raises:
            FeatureError: a clip that is not finite, or longer than the longest window.
        """
        clips = audio.clips()
        needed = [self.windows.bucket_s(clip.size) for clip in clips if clip is not None]
        if not needed:
            return MelBatch(np.zeros((len(clips), self.log_mel.bands, LEAST_MEL_FRAMES), np.float32), audio.lengths)
        window_s = max(needed)
        if window_s * SAMPLE_RATE_HZ > self.longest_frames * ENCODER_HOP_SAMPLES:
            raise FeatureError(
                f"a window of {window_s:g} s does not fit an encoder with positions for "
                f"{self.longest_frames * ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ:g} s"
            )
        silence = np.zeros(1, dtype=np.float32)
        mel = np.stack([self.log_mel.of(silence if clip is None else clip, window_s) for clip in clips])
        return MelBatch(mel, audio.lengths)


def speech_sources(
    bundle: Bundle, settings: WeightsSettings | None = None, *, progress: bool = False
) -> dict[str, SpeechSource]:
    """The speech encoders of a bundle that can stand inside an engine, by modality.

    Weights of the registry are fetched first where the cache has them not; a checkpoint of the bundle's own is read
    where it lay when the bundle was trained, if it is still the same. What cannot stand inside is left out and the
    log says why: its modality is read as features.

    Raises:
        FeatureError: the bundle names a backbone there is none of.
    """
    entries = {entry.name: entry for entry in bundle.manifest.backbones}
    sources: dict[str, SpeechSource] = {}
    for modality in bundle.manifest.modalities:
        if modality.kind != "acoustic":
            continue
        entry = entries[modality.backbone]
        spec = _spec(entry)
        if spec is not None and spec.architecture in _READ_OTHERWISE:
            continue
        if modality.name in bundle.manifest.speaker_standardisation:
            fault: str | None = "its features are brought relative to the speaker, which is done outside"
        elif spec is None:
            fault = f"its weights come from {entry.source}, which is not at hand"
        elif spec.architecture not in HEARING | {WHISPER}:
            fault = f"{spec.architecture} is not written as a graph"
        else:
            try:
                source = SpeechSource(
                    backbone_folder(spec, settings, progress=progress),
                    spec.architecture,
                    entry.layers or spec.layers,
                    modality.layers > 1,
                    backbone_hashes(spec, settings),
                )
                fault = source.fault()
            except WeightsError as error:
                fault = str(error)
        if fault is None:
            sources[modality.name] = source
        else:
            _LOG.warning("%s (%s) stays outside the engine: %s", modality.name, modality.backbone, fault)
    return sources


def _spec(entry: BackboneEntry) -> BackboneSpec | None:
    """Where its weights are; None where that is nowhere here."""
    if entry.source is None:
        return backbone(entry.name)
    if not entry.source.startswith(_FOLDER) or entry.architecture is None:
        return None
    folder = Path(entry.source.removeprefix(_FOLDER))
    if not folder.is_dir():
        return None
    return BackboneSpec(
        entry.name,
        "acoustic",
        dim=0,
        rate_hz=None,
        weights=LocalCheckpoint(folder, tuple(sorted(entry.files.items()))),
        architecture=cast("Architecture", entry.architecture),
        layers=entry.layers or 1,
    )
