"""Whisper's encoder without its 30 s of padding, under the project's window policy.

transformers insists on 3000 mel frames. The encoder itself takes any even number of them: its positions are a table
that a shorter window reads from the start. In a window of 30 s the features are transformers' own; in a shorter one
they differ from those, since a frame attends to less silence, and so they do between windows. Within one window they
depend on the clip alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import WhisperModel

from models.backbones.checkpoint import load_frozen, load_reader, read_layers
from models.errors import FeatureError
from models.windows import ENCODER_HOP_SAMPLES, SAMPLE_RATE_HZ, WindowPolicy, encoder_frames


class WhisperReader:
    """Reads log-mel spectrograms padded to a window."""

    batches = True
    least_samples = 1

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: torch.dtype,
        *,
        layers: int,
        stacked: bool,
        windows: WindowPolicy,
    ) -> None:
        """Loads encoder and preprocessor; arguments as for `SpeechEncoder`.

        Raises:
            WeightsError: the folder does not hold such a model, or its preprocessor wants another sample rate.
        """
        self._prepare = load_reader(folder, SAMPLE_RATE_HZ)
        self._encoder = load_frozen(folder, WhisperModel, device, precision).encoder
        self._device = device
        self._precision = precision
        self._layers = layers
        self._stacked = stacked
        self._windows = windows

    def padded_s(self, samples: int) -> float:
        """The clip's window; see `Reader.padded_s`."""
        window_s = self._windows.bucket_s(samples)
        self._check(window_s)
        return window_s

    def read(self, segments: Sequence[NDArray[np.float32]], window_s: float | None) -> list[torch.Tensor]:
        """See `Reader.read`; all in one window."""
        if window_s is None:
            window_s = max(self.padded_s(segment.size) for segment in segments)
        self._check(window_s)
        longest = max(segment.size for segment in segments)
        if longest > round(window_s * SAMPLE_RATE_HZ):
            raise FeatureError(f"{longest} samples do not fit a window of {window_s:g} s")
        mel = torch.cat([self._mel(segment, window_s) for segment in segments])
        features = read_layers(self._hidden(mel), self._layers, stacked=self._stacked)
        return [row[: encoder_frames(segment.size)] for row, segment in zip(features, segments, strict=True)]

    def _check(self, window_s: float) -> None:
        longest_s = self._encoder.config.max_source_positions * ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ
        if window_s > longest_s:
            raise FeatureError(f"a window of {window_s:g} s does not fit an encoder with positions for {longest_s:g} s")

    def _mel(self, segment: NDArray[np.float32], window_s: float) -> torch.Tensor:
        """`[1, mel bands, mel frames]`, the frame count even."""
        mel: torch.Tensor = self._prepare(
            segment,
            sampling_rate=SAMPLE_RATE_HZ,
            padding="max_length",
            max_length=round(window_s * SAMPLE_RATE_HZ),
            truncation=False,
            return_tensors="pt",
        )["input_features"]
        return mel[..., : mel.shape[-1] // 2 * 2].to(self._device, self._precision)

    def _hidden(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """Output of every layer, the last one normalised, `[batch, frames, dim]` each."""
        encoder = self._encoder
        x = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        hidden = []
        for layer in encoder.layers:
            x = layer(x, None)
            hidden.append(x)
        hidden[-1] = encoder.layer_norm(x)
        return hidden
