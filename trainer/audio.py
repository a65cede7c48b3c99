"""Clips on disk as training reads them: 16 kHz mono, whatever the container."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import av
import numpy as np
import soxr
from av.error import FFmpegError
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from trainer.errors import CorpusError

SUFFIXES: Final = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".sph"})


def read_clip(path: Path) -> NDArray[np.float32]:
    """Decodes a clip, mixes its channels and resamples it.

    Args:
        path: any audio file that FFmpeg reads.

    Returns:
        `[samples]` at 16 kHz, within about -1 to 1.

    Raises:
        CorpusError: no such file, no audio in it, or audio that cannot be decoded to its end.
    """
    pieces: list[NDArray[np.float32]] = []
    rate_hz = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise CorpusError(f"{path}: no audio in it")
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(container.streams.audio[0]):
                if rate_hz and frame.sample_rate != rate_hz:
                    raise CorpusError(f"{path}: the sample rate changes from {rate_hz} to {frame.sample_rate} Hz")
                rate_hz = frame.sample_rate
                pieces.extend(part.to_ndarray().mean(axis=0, dtype=np.float32) for part in to_float.resample(frame))
    except (FFmpegError, OSError) as error:
        raise CorpusError(f"{path}: cannot be decoded ({_reason(error)})") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    if samples.size == 0:
        raise CorpusError(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise CorpusError(f"{path}: holds samples that are not finite")
    if rate_hz != SAMPLE_RATE_HZ:
        samples = np.asarray(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ), dtype=np.float32)
    return samples


def probe_duration_s(path: Path) -> float | None:
    """Duration by the container's own account, without decoding.

    Args:
        path: any audio file that FFmpeg reads.

    Returns:
        Seconds; None where the container does not say.

    Raises:
        CorpusError: the file cannot be opened, or holds no audio.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise CorpusError(f"{path}: no audio in it")
            stream = container.streams.audio[0]
            if stream.duration is None or stream.time_base is None:
                return None
            return float(stream.duration * stream.time_base)
    except (FFmpegError, OSError) as error:
        raise CorpusError(f"{path}: cannot be opened as audio ({_reason(error)})") from error


def _reason(error: OSError | FFmpegError) -> str:
    return error.strerror or str(error)
