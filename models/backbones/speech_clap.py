"""CLAP's audio encoder (HTSAT): an image transformer over the spectrogram of 10 s at 48 kHz.

A clip is read in consecutive windows of 10 s; a shorter one, and the rest of a longer one, is repeated to fill its
window, as the checkpoint's preprocessor does. What a repetition gives is left out. Longer clips are never cropped at
random, and fused checkpoints read each window by itself: transformers' own preprocessor draws both by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from transformers import ClapModel

from models.backbones.checkpoint import load_frozen, load_reader
from models.windows import SAMPLE_RATE_HZ


class ClapReader:
    """Reads windows of a fixed length; every clip is its own."""

    batches = True
    least_samples = 1

    def __init__(self, folder: Path, device: torch.device, precision: torch.dtype) -> None:
        """Loads encoder and preprocessor; arguments as for `SpeechEncoder`.

        Raises:
            WeightsError: the folder does not hold such a model.
        """
        self._prepare = load_reader(folder)
        self._rate_hz = int(self._prepare.sampling_rate)
        self._window_s = float(self._prepare.max_length_s)
        self._encoder = load_frozen(folder, ClapModel, device, precision).audio_model
        self._device = device
        self._precision = precision

    def padded_s(self, samples: int) -> float:
        """Whole windows; see `Reader.padded_s`."""
        return math.ceil(samples / SAMPLE_RATE_HZ / self._window_s) * self._window_s

    def read(self, segments: Sequence[NDArray[np.float32]], _window_s: float | None) -> list[torch.Tensor]:
        """See `Reader.read`; frequencies averaged, so that a frame is a vector."""
        room = round(self._window_s * self._rate_hz)
        pieces: list[NDArray[np.float32]] = []
        owners: list[int] = []
        for row, segment in enumerate(segments):
            samples = np.asarray(soxr.resample(segment, SAMPLE_RATE_HZ, self._rate_hz), dtype=np.float32)
            found = [samples[start : start + room] for start in range(0, samples.size, room)]
            pieces.extend(found)
            owners.extend([row] * len(found))
        mel = torch.cat([self._mel(piece) for piece in pieces]).to(self._device, self._precision)
        longer = torch.zeros(len(pieces), 1, dtype=torch.bool, device=self._device)
        states = self._encoder(input_features=mel, is_longer=longer).last_hidden_state.float()
        frames = states.mean(dim=2).transpose(1, 2)
        parts: list[list[torch.Tensor]] = [[] for _ in segments]
        for owner, piece, states_of in zip(owners, pieces, frames, strict=True):
            parts[owner].append(states_of[: math.ceil(states_of.shape[0] * piece.size / room)])
        return [torch.cat(part) for part in parts]

    def _mel(self, piece: NDArray[np.float32]) -> torch.Tensor:
        """`[1, spectrograms, mel frames, mel bands]`."""
        prepared = self._prepare(piece, sampling_rate=self._rate_hz, return_tensors="pt")
        mel: torch.Tensor = prepared["input_features"]
        return mel.float()
