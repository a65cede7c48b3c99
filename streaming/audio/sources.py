"""Where audio comes from besides a socket: files of any kind, and the microphone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding
from streaming.audio.resample import check_rate
from streaming.errors import AudioFileError, AudioFormatError

MAX_CHANNELS: Final = 32
MICROPHONE_CHUNK_S: Final = 0.02
_MICROPHONE_QUEUE: Final = 500


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a stream of bytes is to be read."""

    encoding: Encoding = Encoding.PCM16
    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1

    def __post_init__(self) -> None:
        check_rate(self.rate_hz)
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioFormatError(f"{self.channels} channels: there may be 1 to {MAX_CHANNELS}")

    @property
    def bytes_per_s(self) -> int:
        """Bytes a second of audio takes."""
        return self.encoding.sample_bytes * self.rate_hz * self.channels


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A decoded file."""

    samples: NDArray[np.float32] = field(repr=False)
    """`[channels, samples]`, finite, -1 to 1."""
    rate_hz: int
    warning: str | None = None
    """What was wrong with it, where some of it could be read all the same."""

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return float(self.samples.shape[1]) / self.rate_hz


def read_file(path: Path) -> AudioFile:
    """Decodes the first audio stream of a file, of any container and codec FFmpeg knows, channels and rate kept.

    A file that breaks off gives what comes before, with a warning.

    Args:
        path: the file.

    Raises:
        AudioFileError: it is missing, a folder, empty, no media file, holds no audio stream, or nothing of it can be
            decoded.
    """
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder, not an audio file")
    try:
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path} is empty")
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioFileError(f"{path} holds no audio")
            return _decode(path, container)
    except OSError as error:
        # FFmpeg's own errors are of this kind too.
        raise AudioFileError(f"{path} cannot be read as audio: {error.strerror or error}") from error
    except av.error.FFmpegError as error:
        raise AudioFileError(f"{path} cannot be read as audio: {error}") from error


def _decode(path: Path, container: Any) -> AudioFile:
    stream = container.streams.audio[0]
    chunks: list[NDArray[np.float32]] = []
    rate_hz, warning, resampler = 0, None, None
    try:
        for frame in container.decode(stream):
            if resampler is None:
                rate_hz = frame.sample_rate
                resampler = av.AudioResampler(format="fltp", layout=frame.layout.name, rate=rate_hz)
            chunks.extend(np.asarray(part.to_ndarray(), dtype=np.float32) for part in resampler.resample(frame))
    except av.error.FFmpegError as error:
        if not chunks:
            raise
        warning = f"breaks off: {error.strerror or error}"
    if not chunks or not rate_hz:
        raise AudioFileError(f"{path} holds no samples")
    try:
        check_rate(rate_hz)
    except AudioFormatError as error:
        raise AudioFileError(f"{path}: {error}") from error
    samples = np.concatenate(chunks, axis=1)
    broken = int(samples.size - np.count_nonzero(np.isfinite(samples)))
    if broken:
        warning = f"{broken} samples are not finite and were taken for silence"
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    return AudioFile(np.clip(samples, -1.0, 1.0), rate_hz, warning or _shortfall(stream, samples.shape[1], rate_hz))


def _shortfall(stream: Any, samples: int, rate_hz: int) -> str | None:
    """Says so where the header promises clearly more than was there."""
    if stream.duration is None or stream.time_base is None:
        return None
    promised_s = float(stream.duration * stream.time_base)
    found_s = samples / rate_hz
    if found_s < promised_s - 0.1:
        return f"is cut short: {found_s:.2f} of {promised_s:.2f} s are there"
    return None


async def microphone(rate_hz: int = SAMPLE_RATE_HZ) -> AsyncIterator[bytes]:
    """PCM16 chunks of 20 ms from the default microphone, mono, until the iteration is closed.

    Args:
        rate_hz: to record at.

    Raises:
        AudioFormatError: the `mic` extra is not installed, or there is no microphone.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioFormatError(
            f"no microphone support ({error}): install PortAudio and the extra, pip install 'medusa-live[mic]'"
        ) from error
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(_MICROPHONE_QUEUE)

    def keep(chunk: bytes) -> None:
        if chunks.full():
            chunks.get_nowait()
        chunks.put_nowait(chunk)

    def heard(data: Any, _frames: int, _time: Any, _status: Any) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))

    block = round(rate_hz * MICROPHONE_CHUNK_S)
    try:
        stream = sounddevice.RawInputStream(rate_hz, block, channels=1, dtype="int16", callback=heard)
    except sounddevice.PortAudioError as error:
        raise AudioFormatError(f"the microphone cannot be opened: {error}") from error
    with stream:
        while True:
            yield await chunks.get()
