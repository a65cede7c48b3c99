"""Where audio comes from besides a socket: files of any kind, and the microphone."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
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

_LOG: Final = logging.getLogger(__name__)

MAX_CHANNELS: Final = 32
MICROPHONE_CHUNK_S: Final = 0.02
_MICROPHONE_QUEUE: Final = 2000
"""40 s: what a reader may fall behind before the oldest audio is lost; longer than a client tries to connect again."""

_RIFF_HEADER_BYTES: Final = 8
_RIFF_UNKNOWN_SIZE: Final = 0x7FFF_F000
"""Programs that write a WAV to a pipe put a size from here on, since they do not know it yet."""
_PACKED_PCM: Final = re.compile(r"pcm_(?:[sfu](\d+)(?:le|be)?|mulaw|alaw)")
"""FFmpeg's names of interleaved PCM; the number is the bits of a sample, a byte where there is none."""
_BITS_PER_BYTE: Final = 8
_SHORTFALL_S: Final = 0.1
"""Durations in headers are rounded, and encoders' delays count in some of them."""


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
    try:
        if path.is_dir():
            raise AudioFileError(f"{path} is a folder, not an audio file")
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path} is empty")
        # FFmpeg takes what stands before a colon in a relative path for a protocol.
        with av.open(str(path.absolute())) as container:
            if not container.streams.audio:
                raise AudioFileError(f"{path} holds no audio")
            return _decode(path, container)
    except OSError as error:
        # FFmpeg's own errors are of this kind too.
        raise AudioFileError(f"{path} cannot be read as audio: {error.strerror or error}") from error
    except av.error.FFmpegError as error:
        raise AudioFileError(f"{path} cannot be read as audio: {error.strerror or error}") from error


def _decode(path: Path, container: Any) -> AudioFile:
    stream = container.streams.audio[0]
    chunks: list[NDArray[np.float32]] = []
    warnings: list[str] = []
    resamplers: dict[str, Any] = {}
    rate_hz, channels = 0, 0
    for frame in _frames(container, stream, warnings):
        if not chunks:
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            _check(path, rate_hz, channels)
        elif (frame.sample_rate, frame.layout.nb_channels) != (rate_hz, channels):
            warnings.append("changes its rate or channels; only what comes before was read")
            break
        chunks.append(_interleaved(frame, resamplers))
    if not chunks:
        raise AudioFileError(f"{path} holds no samples" + "".join(f": it {warning}" for warning in warnings))
    samples = np.ascontiguousarray(np.concatenate(chunks).T)
    broken = int(samples.size - np.count_nonzero(np.isfinite(samples)))
    if broken:
        warnings.append(f"has {broken} samples that are not finite and were taken for silence")
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    shortfall = _shortfall(path, container, stream, samples.shape[1] / rate_hz)
    if shortfall:
        warnings.append(shortfall)
    return AudioFile(np.clip(samples, -1.0, 1.0), rate_hz, "; ".join(warnings) or None)


def _check(path: Path, rate_hz: int, channels: int) -> None:
    try:
        AudioFormat(Encoding.FLOAT32, rate_hz, channels)
    except AudioFormatError as error:
        raise AudioFileError(f"{path}: {error}") from error


def _frames(container: Any, stream: Any, warnings: list[str]) -> Iterator[Any]:
    """All frames that can be decoded; what cannot is said in `warnings`."""
    bad_packets = 0
    try:
        for packet in container.demux(stream):
            try:
                yield from _whole(packet, stream).decode()
            except av.error.FFmpegError:
                bad_packets += 1
    except av.error.FFmpegError as error:
        warnings.append(f"breaks off ({error.strerror or error})")
    if bad_packets:
        warnings.append(f"has {bad_packets} packets that cannot be decoded")


def _whole(packet: Any, stream: Any) -> Any:
    """A packet of PCM without the bytes that make no sample of every channel: FFmpeg would refuse all of it."""
    packed = _PACKED_PCM.fullmatch(stream.codec_context.name)
    if packed is None:
        return packet
    sample_bytes = int(packed[1] or _BITS_PER_BYTE) // _BITS_PER_BYTE
    torn = packet.size % (sample_bytes * stream.codec_context.layout.nb_channels)
    if torn in {0, packet.size}:
        return packet
    whole = av.Packet(bytes(packet)[:-torn])
    whole.stream = packet.stream
    return whole


def _interleaved(frame: Any, resamplers: dict[str, Any]) -> NDArray[np.float32]:
    """A frame's samples as `[samples, channels]`; PyAV reads planes beyond the eighth from nowhere, so packed.

    Args:
        frame: as decoded.
        resamplers: by what they convert from; making one takes longer than using it.
    """
    source = f"{frame.format.name} {frame.layout.name}"
    if source not in resamplers:
        resamplers[source] = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
    parts = [part.to_ndarray().reshape(-1, frame.layout.nb_channels) for part in resamplers[source].resample(frame)]
    return np.concatenate([np.zeros((0, frame.layout.nb_channels), dtype=np.float32), *parts])


def _shortfall(path: Path, container: Any, stream: Any, found_s: float) -> str | None:
    """Says so where the header promises clearly more than was there."""
    if container.format.name == "wav":
        # FFmpeg takes a WAV's length from the file's size where the header says more.
        with path.open("rb") as file:
            promised_bytes = int.from_bytes(file.read(_RIFF_HEADER_BYTES)[4:], "little") + _RIFF_HEADER_BYTES
        if path.stat().st_size < promised_bytes < _RIFF_UNKNOWN_SIZE:
            return f"is cut short: {path.stat().st_size} of {promised_bytes} bytes are there"
    if stream.duration is None or stream.time_base is None:
        return None
    promised_s = float(stream.duration * stream.time_base)
    if found_s < promised_s - _SHORTFALL_S:
        return f"is cut short: {found_s:.2f} of {promised_s:.2f} s are there"
    return None


async def microphone(rate_hz: int = SAMPLE_RATE_HZ) -> AsyncGenerator[bytes]:
    """PCM16 chunks of 20 ms from the default microphone, mono, until the iteration is closed.

    A reader that falls behind finds 40 s waiting at most: of more the oldest is lost, and a warning is logged.

    Args:
        rate_hz: to record at.

    Raises:
        AudioFormatError: the rate is outside 8 to 192 kHz, the `mic` extra is not installed, or the microphone is
            missing or taken.
    """
    check_rate(rate_hz)
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioFormatError(
            f"no microphone support ({error}): install PortAudio and the extra, pip install 'medusa-live[mic]'"
        ) from error
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(_MICROPHONE_QUEUE)
    lost = itertools.count()

    def keep(chunk: bytes) -> None:
        if chunks.full():
            chunks.get_nowait()
            if next(lost) % _MICROPHONE_QUEUE == 0:
                _LOG.warning("the microphone's audio is not taken in time: the oldest is being lost")
        chunks.put_nowait(chunk)

    def heard(data: Any, _frames: int, _time: Any, _status: Any) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))

    block = round(rate_hz * MICROPHONE_CHUNK_S)
    with ExitStack() as recording:
        try:
            stream = sounddevice.RawInputStream(rate_hz, block, channels=1, dtype="int16", callback=heard)
            recording.enter_context(stream)
        except sounddevice.PortAudioError as error:
            raise AudioFormatError(f"the microphone cannot be opened: {error}") from error
        while True:
            yield await chunks.get()
