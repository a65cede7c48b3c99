"""Audio that comes in numbered pieces, put in order: late pieces are waited for, missing ones are silence. Pure."""

from __future__ import annotations

from typing import Final

from streaming.errors import StreamingError

_WAITING: Final = 10
"""Pieces that may be held back for one that is missing: 200 ms of telephony."""
_LONGEST_GAP_MS: Final = 60_000
"""Silence that a gap may become; a stream whose clock leaps further is broken, and goes on without."""


class LostAudioError(StreamingError):
    """Some audio never came, and is silence."""

    code = "lost_audio"


class Track:
    """One voice's audio: pieces in, in whatever order; bytes out, in theirs."""

    def __init__(self, bytes_per_ms: int, silence: bytes) -> None:
        """Nothing came yet.

        Args:
            bytes_per_ms: of the encoding.
            silence: one byte of it.
        """
        self._bytes_per_ms = bytes_per_ms
        self._silence = silence
        self._held: dict[int, tuple[int, bytes]] = {}
        self._next: int | None = None
        self._position = 0
        """Bytes that were put in order so far, silence included."""
        self._filled = 0
        """Of it, silence that was put in for audio that may still come."""
        self._ordered = bytearray()

    @property
    def ready(self) -> int:
        """Bytes that are in order."""
        return len(self._ordered)

    def push(self, number: int, timestamp_ms: int, data: bytes) -> None:
        """Takes a piece; one that came before, or whose place has been given up, is dropped.

        Args:
            number: rises by one from piece to piece.
            timestamp_ms: where it begins, from the beginning of the stream.
            data: the audio.

        Raises:
            LostAudioError: pieces were given up; this one was taken all the same.
        """
        if self._next is None:
            self._next = number if number > _WAITING else min(number, 1)
        if number < self._next or number in self._held:
            return
        self._held[number] = timestamp_ms, data
        self._order()
        if len(self._held) > _WAITING:
            lost = min(self._held) - self._next
            self._next = min(self._held)
            self._order()
            raise LostAudioError(f"{lost} pieces of audio never came: they are heard as silence")

    def finish(self) -> None:
        """Nothing will follow: what was held back is put in order as it is."""
        for number in sorted(self._held):
            self._place(*self._held.pop(number))

    def fill(self, size: int) -> None:
        """Puts in silence until so many bytes are ready; audio that comes for this time is shortened by it."""
        missing = size - len(self._ordered)
        if missing > 0:
            self._append(self._silence * missing)
            self._filled += missing

    def take(self, size: int) -> bytes:
        """Takes so many bytes out, or as many as are ready."""
        taken = bytes(self._ordered[:size])
        del self._ordered[:size]
        return taken

    def _order(self) -> None:
        while self._next is not None and self._next in self._held:
            self._place(*self._held.pop(self._next))
            self._next += 1

    def _place(self, timestamp_ms: int, data: bytes) -> None:
        begins = timestamp_ms * self._bytes_per_ms
        gap = begins - self._position
        if 0 < gap <= _LONGEST_GAP_MS * self._bytes_per_ms:
            self._append(self._silence * gap)
        elif gap < 0 and self._filled:
            late = min(-gap, self._filled, len(data))
            self._filled -= late
            data = data[late:]
        self._append(data)

    def _append(self, data: bytes) -> None:
        self._ordered += data
        self._position += len(data)
