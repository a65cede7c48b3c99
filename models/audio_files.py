"""Audio on disk, read as encoders hear it: 16 kHz mono, whatever the container."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av
import numpy as np
import soxr
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from models.errors import FeatureError
from models.windows import SAMPLE_RATE_HZ

SUFFIXES: Final = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".sph"})

_EXACT_DURATIONS: Final = frozenset({"flac"})
"""Codecs whose files say to the sample how long they are."""
_DURATION_TOLERANCE_S: Final = 0.01
_RIFF_HEADER: Final = 8
_STREAMED_SIZE: Final = 0xFFFFFFFF
"""What a recorder writes that cannot go back to fill in the size."""


def read_clip(path: Path) -> NDArray[np.float32]:
    """Decodes a clip, mixes its channels and resamples it.

    Args:
        path: any audio file that FFmpeg reads.

    Returns:
        `[samples]` at 16 kHz, within about -1 to 1.

    Raises:
        FeatureError: no such file, no audio in it, or audio that cannot be decoded to its end.
    """
    pieces: list[NDArray[np.float32]] = []
    rate_hz = 0
    try:
        with _opened(path) as container:
            declared_s = _declared_s(container)
            exact = container.streams.audio[0].codec_context.name in _EXACT_DURATIONS
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(container.streams.audio[0]):
                if rate_hz and frame.sample_rate != rate_hz:
                    raise FeatureError(f"{path}: the sample rate changes from {rate_hz} to {frame.sample_rate} Hz")
                rate_hz = frame.sample_rate
                pieces.extend(part.to_ndarray().mean(axis=0, dtype=np.float32) for part in to_float.resample(frame))
    except (FFmpegError, OSError) as error:
        raise FeatureError(f"{path}: cannot be decoded ({_reason(error)})") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    if samples.size == 0:
        raise FeatureError(f"{path}: holds no samples")
    if exact and declared_s is not None and samples.size / rate_hz < declared_s - _DURATION_TOLERANCE_S:
        raise FeatureError(f"{path}: is cut short, {samples.size / rate_hz:.2f} s of {declared_s:.2f} s are there")
    if not np.isfinite(samples).all():
        raise FeatureError(f"{path}: holds samples that are not finite")
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
        FeatureError: the file cannot be opened, or holds no audio.
    """
    try:
        with _opened(path) as container:
            return _declared_s(container)
    except (FFmpegError, OSError) as error:
        raise FeatureError(f"{path}: cannot be opened as audio ({_reason(error)})") from error


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    _refuse_cut_wave(path)
    with av.open(str(path)) as container:
        # FFmpeg believes some suffixes whatever the content: no sample rate says that nothing was found.
        if not container.streams.audio or not container.streams.audio[0].codec_context.sample_rate:
            raise FeatureError(f"{path}: no audio in it")
        yield container


def _declared_s(container: InputContainer) -> float | None:
    stream = container.streams.audio[0]
    if stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _refuse_cut_wave(path: Path) -> None:
    """FFmpeg reads what is left of a truncated WAV file as if it were whole, so its header is asked."""
    with path.open("rb") as file:
        magic, size = file.read(4), int.from_bytes(file.read(4), "little")
    there = path.stat().st_size
    if magic == b"RIFF" and size != _STREAMED_SIZE and size + _RIFF_HEADER > there + 1:
        raise FeatureError(f"{path}: is cut short, {there} of {size + _RIFF_HEADER} bytes are there")


def _reason(error: OSError | FFmpegError) -> str:
    return error.strerror or str(error)
