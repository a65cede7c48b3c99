"""Short pieces of audio gathered into longer ones: hearing has a price for every piece, however short it is. Pure."""

from __future__ import annotations

from typing import Final

GATHERED_S: Final = 0.06
"""Audio that is handed on in one piece, or what is closest to it in whole messages. Telephony sends 20 ms at a time: of
three messages the first waits for 40 ms, the last not at all, and what is told of them comes 20 ms later on average."""
_EARLY: Final = 0.1
"""Of a piece: how long before the last piece is due the rest is over, so that it is not missed by a hair."""
_ON_TIME: Final = 0.8
"""Of the time that audio takes to be spoken: whoever sends it in less is in a hurry, and is not made to wait."""


class Gathering:
    """Audio that waits for more, though not for long."""

    def __init__(self, bytes_per_s: int) -> None:
        """Nothing waits.

        Args:
            bytes_per_s: of the audio's format.
        """
        self._bytes_per_s: Final = bytes_per_s
        self._audio = bytearray()
        self._pieces = 0
        self._last_s = 0.0
        """Length of the last piece."""
        self._came_s = 0.0
        """When the first piece came."""
        self._taken_s = float("-inf")

    def add(self, piece: bytes, now_s: float) -> bool:
        """Takes a piece, and says whether what waits is to be handed on.

        Args:
            piece: the next audio.
            now_s: when it came.
        """
        if not self._audio:
            self._came_s, self._pieces = now_s, 0
        self._audio += piece
        self._pieces += 1
        self._last_s = len(piece) / self._bytes_per_s
        return self._length_s + self._last_s / 2 >= GATHERED_S or now_s - self._came_s >= GATHERED_S

    def left_s(self, now_s: float) -> float | None:
        """How long what waits may go on waiting; None where nothing does."""
        return max(0.0, self._came_s + GATHERED_S - now_s) if self._audio else None

    def take(self, now_s: float) -> tuple[bytes, float, float]:
        """All that waits; no bytes where nothing does.

        Returns:
            The audio. When the first of it came, as if pieces came when their last sample had been spoken: the line may
            have kept them while nothing was read. And for how long nothing more needs to be read, in seconds: where
            short pieces come at the pace of speech, until the last is due that fills the next piece.
        """
        if not self._audio:
            return b"", now_s, 0.0
        audio, length_s = bytes(self._audio), self._length_s
        self._audio.clear()
        since_s = now_s - self._taken_s
        came_s = max(self._taken_s, min(self._came_s, now_s - length_s + self._last_s))
        self._taken_s = now_s
        if self._pieces < 2 or since_s < _ON_TIME * length_s:
            return audio, came_s, 0.0
        return audio, came_s, max(0.0, length_s - _EARLY * length_s / self._pieces)

    @property
    def _length_s(self) -> float:
        return len(self._audio) / self._bytes_per_s
