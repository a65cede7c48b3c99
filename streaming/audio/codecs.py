"""Bytes on a wire to samples and back: PCM16, float32, and G.711 mu-law and A-law (ITU-T G.711)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.errors import AudioFormatError

_FULL_SCALE: Final = 32_768.0
_SIGN_BIT: Final = 0x80
"""Of a G.711 byte: set for what is positive."""


class Encoding(StrEnum):
    """How samples are written; little-endian where it matters."""

    PCM16 = "pcm_s16le"
    MULAW = "mulaw"
    ALAW = "alaw"
    FLOAT32 = "f32le"

    @classmethod
    def named(cls, name: str) -> Encoding:
        """The encoding of that name.

        Raises:
            AudioFormatError: there is none.
        """
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(encoding.value for encoding in cls)
            raise AudioFormatError(f"unknown encoding {name!r}: use one of {known}") from None

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return {Encoding.PCM16: 2, Encoding.FLOAT32: 4}.get(self, 1)


def _mulaw_table() -> NDArray[np.float32]:
    """What each mu-law byte stands for, `[256]`: sign, three bits of exponent, four of mantissa, all inverted."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.float32) / np.float32(_FULL_SCALE)


def _alaw_table() -> NDArray[np.float32]:
    """What each A-law byte stands for, `[256]`: every other bit inverted."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 7
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.float32) / np.float32(_FULL_SCALE)


_TABLES: Final = {Encoding.MULAW: _mulaw_table(), Encoding.ALAW: _alaw_table()}


def decode(data: bytes, encoding: Encoding) -> NDArray[np.float32]:
    """Samples of whole bytes, `[samples]`; float32 is not yet checked for values that are no samples.

    Args:
        data: a whole number of samples.
        encoding: how they are written.
    """
    if encoding is Encoding.PCM16:
        return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    if encoding is Encoding.FLOAT32:
        return np.frombuffer(data, dtype="<f4").astype(np.float32)
    return _TABLES[encoding][np.frombuffer(data, dtype=np.uint8)]


def encode(samples: NDArray[np.floating], encoding: Encoding) -> bytes:
    """Samples to bytes; what passes full scale is clipped.

    Args:
        samples: `[samples]`, -1 to 1, finite.
        encoding: how to write them.

    Raises:
        AudioFormatError: a sample is not finite.
    """
    if not np.isfinite(samples).all():
        raise AudioFormatError("samples that are not finite cannot be encoded")
    clipped = np.clip(samples, -1.0, 1.0)
    if encoding is Encoding.FLOAT32:
        return bytes(clipped.astype("<f4").tobytes())
    if encoding is Encoding.PCM16:
        scaled = np.clip(np.rint(clipped * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
        return bytes(scaled.astype("<i2").tobytes())
    return _nearest_codes(clipped, _TABLES[encoding]).tobytes()


def _nearest_codes(samples: NDArray[np.floating], table: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The codes whose values lie nearest to the samples; on a decision value, the one further from zero (G.711)."""
    positive = np.flatnonzero(~np.signbit(table))
    order = positive[np.argsort(table[positive])]
    edges = (table[order][1:] + table[order][:-1]) / 2
    codes = order[np.searchsorted(edges, np.abs(samples), side="right")]
    signed: NDArray[np.intp] = np.where(samples < 0, codes ^ _SIGN_BIT, codes)
    return signed.astype(np.uint8)


class Decoder:
    """A stream of bytes, cut anywhere, to channels of samples.

    Attributes:
        repaired_samples: how many were not finite, and were replaced by silence.
        clipped_samples: how many lay beyond full scale, and were brought back to it.
    """

    def __init__(self, encoding: Encoding, channels: int = 1) -> None:
        """Starts a stream.

        Args:
            encoding: how samples are written.
            channels: interleaved in it, at least 1.

        Raises:
            AudioFormatError: no channel.
        """
        if channels < 1:
            raise AudioFormatError(f"audio needs at least one channel, got {channels}")
        self._encoding = encoding
        self._channels = channels
        self._frame_bytes = encoding.sample_bytes * channels
        self._rest = b""
        self.repaired_samples = 0
        self.clipped_samples = 0

    def push(self, data: bytes) -> NDArray[np.float32]:
        """Decodes what is whole; the rest waits for the next bytes.

        Args:
            data: any number of bytes.

        Returns:
            `[channels, samples]`, finite, -1 to 1.
        """
        data = self._rest + data
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._rest = data[whole:]
        samples = decode(data[:whole], self._encoding)
        if self._encoding is Encoding.FLOAT32:
            samples = self._repair(samples)
        return np.ascontiguousarray(samples.reshape(-1, self._channels).T)

    def flush(self) -> int:
        """Ends the stream: how many bytes were left over, too few for a sample of every channel."""
        left = len(self._rest)
        self._rest = b""
        return left

    def _repair(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        finite = np.isfinite(samples)
        self.repaired_samples += int(samples.size - np.count_nonzero(finite))
        samples = np.where(finite, samples, np.float32(0))
        self.clipped_samples += int(np.count_nonzero(np.abs(samples) > 1))
        return np.clip(samples, np.float32(-1), np.float32(1))
