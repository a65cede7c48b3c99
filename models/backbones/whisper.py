"""The Whisper encoder as a backbone: one pass per segment, read by the transcriber and by the ensemble alike.

Whisper was trained on 30 s windows, and faster-whisper pads to them. The encoder itself takes any even number of mel
frames, so a segment is encoded in the shortest window its `WindowPolicy` allows, several times faster. Members read
only the frames that hold real audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ctranslate2
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from models.errors import FeatureError, WeightsError
from models.windows import LONGEST_WINDOW_S, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, encoder_frames

MEL_BANDS: Final = 80


@dataclass(frozen=True, slots=True)
class EncodedSpeech:
    """A batch of segments after the encoder, in the two forms its readers want."""

    storage: ctranslate2.StorageView
    """`[batch, window frames, dim]`, what `ctranslate2.models.Whisper.generate` and `align` read."""
    frames: tuple[NDArray[np.float32], ...]
    """Per segment `[real frames, dim]` at 50 Hz: padding left out."""
    samples: tuple[int, ...]
    """Length of each segment in samples at 16 kHz."""
    window_s: float
    """The window all of them were encoded in."""

    def __len__(self) -> int:
        return len(self.samples)


class WhisperEncoder:
    """A CTranslate2 Whisper model, used from its encoder side.

    Thread-safe: CTranslate2 queues calls and releases the GIL.
    """

    def __init__(self, folder: Path, *, compute_type: str = "int8", threads: int = 0, device: str = "cpu") -> None:
        """Loads the model.

        Args:
            folder: CTranslate2 model folder with `model.bin`, `config.json`, `tokenizer.json`, `vocabulary.json`.
            compute_type: CTranslate2's name of the arithmetic, such as `int8` or `float16`.
            threads: CPU threads a call may use; 0 lets CTranslate2 choose.
            device: `cpu` or `cuda`.

        Raises:
            WeightsError: the folder does not hold a model that CTranslate2 can load.
        """
        self.folder = folder
        try:
            self.model = ctranslate2.models.Whisper(
                str(folder), device=device, compute_type=compute_type, intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"no usable Whisper model in {folder}: {error}") from error
        self._log_mel = FeatureExtractor(feature_size=MEL_BANDS)

    def log_mel(self, samples: NDArray[np.float32], window_s: float) -> NDArray[np.float32]:
        """Log-mel spectrogram of a segment padded with silence to its window.

        Args:
            samples: `[samples]`, 16 kHz mono.
            window_s: window length in seconds.

        Returns:
            `[mel bands, window frames]` at 100 Hz, the frame count even.

        Raises:
            FeatureError: no audio, audio that is not finite, or longer than the window.
        """
        room = round(window_s * SAMPLE_RATE_HZ)
        if samples.ndim != 1 or samples.size == 0:
            raise FeatureError(f"a segment must be a non-empty row of samples, got shape {samples.shape}")
        if samples.size > room or window_s > LONGEST_WINDOW_S:
            raise FeatureError(f"{samples.size} samples do not fit a window of {window_s:g} s")
        if not np.isfinite(samples).all():
            raise FeatureError("the segment holds samples that are not finite")
        padded = np.zeros(room, dtype=np.float32)
        padded[: samples.size] = samples
        frames = room // MEL_HOP_SAMPLES // 2 * 2
        return np.ascontiguousarray(self._log_mel(padded, padding=0)[:, :frames], dtype=np.float32)

    def encode(self, segments: Sequence[NDArray[np.float32]], window_s: float) -> EncodedSpeech:
        """Encodes segments side by side in one window.

        Args:
            segments: each `[samples]`, 16 kHz mono, no longer than the window.
            window_s: the window, from a `WindowPolicy`.

        Raises:
            FeatureError: see `log_mel`; also for an empty batch.
        """
        if not segments:
            raise FeatureError("nothing to encode: the batch is empty")
        mels = [self.log_mel(segment, window_s)[None] for segment in segments]
        # On a CPU one segment already fills the cores, and what more of them need does not fit the caches.
        batches = mels if self.model.device == "cpu" else [np.concatenate(mels)]
        encoded = [self.model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True) for mel in batches]
        states = np.concatenate([np.asarray(one, dtype=np.float32) for one in encoded])
        storage = encoded[0] if len(encoded) == 1 else ctranslate2.StorageView.from_array(states)
        samples = tuple(len(segment) for segment in segments)
        frames = tuple(row[: encoder_frames(n)] for row, n in zip(states, samples, strict=True))
        return EncodedSpeech(storage=storage, frames=frames, samples=samples, window_s=window_s)
