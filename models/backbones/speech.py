"""Speech encoders through transformers: WavLM, HuBERT, wav2vec 2.0, Whisper's encoder and CLAP's audio encoder.

Waveforms in, `[frames, dim]` out, frames of real audio only. A clip gives the same features alone and in any batch, to
1e-4 in single precision; in bfloat16, to its rounding. How many frames a clip of n samples at 16 kHz gives:

- WavLM, HuBERT, wav2vec 2.0: (n - 400) // 320 + 1 at 50 Hz: a frame hears 25 ms, and the end holds no half frames;
- Whisper: ceil(n / 320) at 50 Hz;
- CLAP: 32 for every whole 10 s, and of the rest its share, rounded up: 3.2 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbones.checkpoint import choose_device, precision_on, require
from models.backbones.speech_clap import ClapReader
from models.backbones.speech_waveform import WaveformReader
from models.backbones.speech_whisper import WhisperReader
from models.errors import FeatureError
from models.windows import FINAL_WINDOWS, SAMPLE_RATE_HZ, WindowPolicy

LONGEST_CLIP_S: Final = 60.0
"""Attention over a clip takes memory by the square of its length."""


class Reader(Protocol):
    """What one family of architectures does its own way."""

    batches: bool
    """Whether clips of different lengths may share a batch."""
    least_samples: int
    """Of a shorter clip it says nothing."""

    def padded_s(self, samples: int) -> float:
        """Seconds that a clip takes in a batch, its padding included; clips of equal answers fit one batch well.

        Raises:
            FeatureError: the clip is too short or too long.
        """
        ...

    def read(self, segments: Sequence[NDArray[np.float32]], window_s: float | None, /) -> list[torch.Tensor]:
        """Features of clips side by side, `[frames, dim]` each in single precision; see `SpeechEncoder.encode`."""
        ...


class SpeechEncoder:
    """A frozen speech encoder of any of these architectures.

    Attributes:
        batches: whether several clips may be encoded at a time.
        least_samples: clips of fewer give no frame, and are refused.
        device: where it computes.
    """

    def __init__(
        self,
        folder: Path,
        architecture: str,
        *,
        layers: int = 1,
        stacked: bool = False,
        device: str = "auto",
        windows: WindowPolicy = FINAL_WINDOWS,
        single: bool = False,
    ) -> None:
        """Loads the model.

        Args:
            folder: model folder in the hub's format, with `preprocessor_config.json`.
            architecture: `wavlm`, `hubert`, `wav2vec2`, `whisper` or `clap`.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side; else they are summed.
            device: `auto`, `cpu` or `cuda`; on a GPU it computes in bfloat16.
            windows: what Whisper pads clips to, unless it is told.
            single: whether it computes in single precision on a GPU too.

        Raises:
            FeatureError: the architecture is none of these, or the device is not there.
            WeightsError: the folder does not hold such a model.
        """
        if architecture not in _READERS:
            raise FeatureError(f"no speech encoder of architecture {architecture!r}; there are {', '.join(_READERS)}")
        self.device = choose_device(device)
        require(folder, architecture, layers)
        precision = torch.float32 if single else precision_on(self.device)
        self._reader = _READERS[architecture](folder, self.device, precision, layers, stacked, windows)
        self.batches = self._reader.batches
        self.least_samples = self._reader.least_samples

    def padded_s(self, samples: int) -> float:
        """Seconds that a clip takes in a batch; clips of equal answers fit one batch well.

        Args:
            samples: length of the clip at 16 kHz.

        Raises:
            FeatureError: the clip is too short to give a frame, or too long.
        """
        if samples > LONGEST_CLIP_S * SAMPLE_RATE_HZ:
            duration_s = samples / SAMPLE_RATE_HZ
            raise FeatureError(f"a clip of {duration_s:.1f} s is longer than {LONGEST_CLIP_S:g} s: cut it")
        return self._reader.padded_s(samples)

    def encode(
        self, segments: Sequence[NDArray[np.float32]], window_s: float | None = None
    ) -> list[NDArray[np.float32]]:
        """Encodes clips.

        Args:
            segments: each `[samples]`, 16 kHz mono.
            window_s: what Whisper pads them to; None for the longest window that one of them needs.

        Returns:
            Per clip `[frames, dim]`, or `[frames, layers * dim]` where layers are stacked.

        Raises:
            FeatureError: no audio, audio that is not finite, too short, too long, or longer than its window.
        """
        for segment in segments:
            if segment.ndim != 1 or segment.size == 0:
                raise FeatureError(f"a segment must be a non-empty row of samples, got shape {segment.shape}")
            if not np.isfinite(segment).all():
                raise FeatureError("the segment holds samples that are not finite")
            self.padded_s(segment.size)
        if not segments:
            return []
        groups = [segments] if self.batches else [[segment] for segment in segments]
        with torch.inference_mode():
            return [features.cpu().numpy() for group in groups for features in self._reader.read(group, window_s)]


def _waveform(
    folder: Path, device: torch.device, precision: torch.dtype, layers: int, stacked: bool, _windows: WindowPolicy
) -> Reader:
    return WaveformReader(folder, device, precision, layers=layers, stacked=stacked)


def _whisper(
    folder: Path, device: torch.device, precision: torch.dtype, layers: int, stacked: bool, windows: WindowPolicy
) -> Reader:
    return WhisperReader(folder, device, precision, layers=layers, stacked=stacked, windows=windows)


def _clap(
    folder: Path, device: torch.device, precision: torch.dtype, _layers: int, _stacked: bool, _windows: WindowPolicy
) -> Reader:
    return ClapReader(folder, device, precision)


_READERS: Final[Mapping[str, Callable[[Path, torch.device, torch.dtype, int, bool, WindowPolicy], Reader]]] = {
    "wavlm": _waveform,
    "hubert": _waveform,
    "wav2vec2": _waveform,
    "whisper": _whisper,
    "clap": _clap,
}
