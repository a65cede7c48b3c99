"""Recordings, written where a test wants them."""

from __future__ import annotations

import wave
from pathlib import Path


def write_wav(path: Path, data: bytes, *, channels: int = 1, rate_hz: int = 16_000) -> Path:
    """Interleaved PCM16 as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(data)
    return path
