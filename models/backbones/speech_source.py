"""Where a bundle's speech encoders are, the three ways in which one is read, and whether it can be inside an engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.audio_batches import LEAST_MEL_FRAMES, AudioBatch, MelBatch
from models.backbones.bundle_backbones import backbone_at_hand
from models.backbones.registry import backbone
from models.engines.base import ON_A_GPU, SINGLE
from models.errors import FeatureError, WeightsError
from models.graphs.checkpoint import PREPROCESSOR_FILE, WEIGHTS_FILE, read_description, single_precision_bytes
from models.weights_settings import WeightsSettings
from models.windows import ENCODER_HOP_SAMPLES, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, WindowPolicy

if TYPE_CHECKING:
    from models.backbones.log_mel import LogMel
    from models.backbones.speech import SpeechEncoder
    from models.bundle import Bundle
    from models.bundle_manifest import BackboneEntry
    from models.engines.base import Engine
    from models.graphs.speech import SpeechGraph
    from models.graphs.whisper import WhisperGraph

_LOG: Final = logging.getLogger(__name__)

HEARING: Final = frozenset({"wavlm", "hubert", "wav2vec2"})
"""Architectures that `models.graphs.speech` writes: these hear the waveform."""
WHISPER: Final = "whisper"
"""The one that `models.graphs.whisper` writes: it reads a spectrogram."""
_READ_OTHERWISE: Final = frozenset({"prosody", "ctranslate2"})
"""What is no checkpoint in the hub's format: nobody would expect it inside."""


class Ear(Protocol):
    """From clips to what an engine is given that has the encoder inside."""

    def __call__(self, audio: AudioBatch, window_s: float | None = None, /) -> AudioBatch | MelBatch:
        """Prepares clips side by side.

        Args:
            audio: the clips.
            window_s: what Whisper pads them to; None for the longest window that one of them needs.

        Raises:
            FeatureError: Whisper is to read a clip that is not finite or does not fit the window.
        """
        ...


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
    relative: bool = False
    """Whether its features are brought relative to the speaker before members read them."""

    def fault(self) -> str | None:
        """Why it cannot stand inside an engine; None where it can. Its weights are not read."""
        from models.graphs.speech import speech_shape
        from models.graphs.whisper import whisper_shape

        if self.relative:
            return "its features are brought relative to the speaker, which is done outside"
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
            windows: what Whisper pads clips to, unless it is told.

        Raises:
            WeightsError: it is a Whisper that reads another spectrogram than this release makes.
        """
        if self.architecture != WHISPER:
            return _as_it_is
        from models.backbones.log_mel import LogMel

        longest = self._places()
        return _Spectrograms(LogMel(self._spectrogram().feature_size), windows, longest).of

    def places_s(self) -> float | None:
        """Seconds of the longest window that a Whisper has places for; None where it hears the waveform.

        Raises:
            WeightsError: it is no Whisper that can stand inside an engine.
        """
        if self.architecture != WHISPER:
            return None
        return self._places() * ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ

    def encoder(self, windows: WindowPolicy, *, beside: Engine | None = None, precision: str = SINGLE) -> SpeechEncoder:
        """The encoder in PyTorch.

        Args:
            windows: as for `ear`.
            beside: the engine that reads its features: where that computes on a GPU which PyTorch finds as well, so
                does the encoder. By default it computes on the CPU.
            precision: of that engine; where it is not `fp32`, the encoder computes in bfloat16 on a GPU.

        Raises:
            WeightsError: the folder does not hold it.
        """
        from models.backbones.speech import SpeechEncoder

        encoder = SpeechEncoder(
            self.folder,
            self.architecture,
            layers=self.layers,
            stacked=self.stacked,
            device="auto" if beside is not None and beside.name in ON_A_GPU else "cpu",
            windows=windows,
            single=precision == SINGLE,
        )
        if beside is not None:
            _LOG.info("%s is computed beside the engine, on %s", self.folder, encoder.device)
        return encoder

    def _places(self) -> int:
        from models.graphs.whisper import whisper_shape

        return whisper_shape(self.folder, self.layers).max_source_positions

    def _spectrogram(self) -> _Spectrogram:
        made = "made are log-mel spectrograms as Whisper's own preprocessor makes them"
        return read_description(_Spectrogram, self.folder / PREPROCESSOR_FILE, made)


def _as_it_is(audio: AudioBatch, _window_s: float | None = None) -> AudioBatch:
    return audio


@dataclass(frozen=True, slots=True)
class _Spectrograms:
    log_mel: LogMel
    windows: WindowPolicy
    longest_frames: int
    """Of a window after the encoder."""

    def of(self, audio: AudioBatch, window_s: float | None = None) -> MelBatch:
        """Of clips side by side, silence where there is none; see `Ear`."""
        clips = audio.clips()
        heard = [clip.size for clip in clips if clip is not None]
        if not heard:
            return MelBatch(np.zeros((len(clips), self.log_mel.bands, LEAST_MEL_FRAMES), np.float32), audio.lengths)
        if window_s is None:
            window_s = max(map(self.windows.bucket_s, heard))
        if window_s * SAMPLE_RATE_HZ > self.longest_frames * ENCODER_HOP_SAMPLES:
            raise FeatureError(
                f"a window of {window_s:g} s does not fit an encoder with positions for "
                f"{self.longest_frames * ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ:g} s"
            )
        silence = np.zeros(1, dtype=np.float32)
        mel = np.stack([self.log_mel.of(silence if clip is None else clip, window_s) for clip in clips])
        return MelBatch(mel, audio.lengths)


def speech_sources(
    bundle: Bundle, settings: WeightsSettings | None = None, *, progress: bool = False, required: bool = False
) -> dict[str, SpeechSource]:
    """The speech encoders a bundle reads, by modality, see `models.backbones.bundle_backbones.backbone_at_hand`.

    Of prosody and of the converted Whisper that transcribes nothing is said: they are read otherwise. The log names
    what cannot stand inside an engine.

    Args:
        bundle: which.
        settings: where weights come from; None reads the configuration.
        progress: whether to draw a progress bar while they are fetched, if stderr is a terminal.
        required: whether one that is not at hand is an error; else it is left out and the log says why.

    Raises:
        FeatureError: the bundle names a backbone there is none of.
        WeightsError: one that is required is not at hand.
    """
    entries = {entry.name: entry for entry in bundle.manifest.backbones}
    sources: dict[str, SpeechSource] = {}
    for modality in bundle.manifest.modalities:
        if modality.kind != "acoustic" or _is_read_otherwise(entries[modality.backbone]):
            continue
        try:
            found = backbone_at_hand(bundle, modality.backbone, settings, progress=progress)
        except WeightsError as error:
            if required:
                raise
            fault: str | None = str(error)
        else:
            sources[modality.name] = source = SpeechSource(
                found.folder,
                found.spec.architecture,
                found.spec.layers,
                modality.layers > 1,
                found.hashes,
                relative=modality.name in bundle.manifest.speaker_standardisation,
            )
            fault = source.fault()
        if fault is not None:
            _LOG.warning("%s (%s) stays outside the engine: %s", modality.name, modality.backbone, fault)
    return sources


def _is_read_otherwise(entry: BackboneEntry) -> bool:
    """Whether it is no checkpoint in the hub's format: those that a recipe names are."""
    return entry.source is None and backbone(entry.name).architecture in _READ_OTHERWISE
