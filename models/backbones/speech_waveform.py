"""WavLM, HuBERT and wav2vec 2.0: convolutions straight on the waveform, a transformer over them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from models.backbones.checkpoint import load_frozen, load_reader, read_layers
from models.errors import FeatureError
from models.windows import SAMPLE_RATE_HZ

_BUCKET_S: Final = 1.0
"""Clips within a second of each other share a batch: little of it is padding."""


class WaveformReader:
    """Reads padded waveforms under attention masks.

    Models whose front end normalises over the whole clip (`feat_extract_norm = "group"`, as wav2vec2-base) would hear
    the padding: they take clips one by one, and no mask, as they were trained.
    """

    def __init__(
        self, folder: Path, device: torch.device, precision: torch.dtype, *, layers: int, stacked: bool
    ) -> None:
        """Loads model and preprocessor; arguments as for `SpeechEncoder`.

        Raises:
            WeightsError: the folder does not hold such a model, or its preprocessor wants another sample rate.
        """
        self._prepare = load_reader(folder, SAMPLE_RATE_HZ)
        self._model = load_frozen(folder, AutoModel, device, precision)
        self._device = device
        self._precision = precision
        self._layers = layers
        self._stacked = stacked
        config = self._model.config
        self._convolutions = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.batches = config.feat_extract_norm == "layer"
        self.least_samples = self._heard_by_a_frame()

    def padded_s(self, samples: int) -> float:
        """The next whole second; see `Reader.padded_s`."""
        if samples < self.least_samples:
            raise FeatureError(f"a clip of {samples} samples is too short: it gives no frame")
        return float(np.ceil(samples / SAMPLE_RATE_HZ / _BUCKET_S) * _BUCKET_S)

    def read(self, segments: Sequence[NDArray[np.float32]], _window_s: float | None) -> list[torch.Tensor]:
        """See `Reader.read`."""
        prepared = self._prepare(
            list(segments),
            sampling_rate=SAMPLE_RATE_HZ,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        values = prepared["input_values"].to(self._device, self._precision)
        mask = prepared["attention_mask"].to(self._device) if self.batches else None
        # PyTorch warns of how transformers passes WavLM's masks, which tells whoever extracts features nothing.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            hidden = self._model(values, attention_mask=mask, output_hidden_states=True).hidden_states
        features = read_layers(hidden, self._layers, stacked=self._stacked)
        return [row[: self._frames(segment.size)] for row, segment in zip(features, segments, strict=True)]

    def _frames(self, samples: int) -> int:
        """What the convolutions leave of a clip."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    def _heard_by_a_frame(self) -> int:
        samples = 1
        for kernel, stride in reversed(self._convolutions):
            samples = (samples - 1) * stride + kernel
        return int(samples)
