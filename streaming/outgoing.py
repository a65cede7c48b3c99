"""What a client sends: audio by its place in the stream, and controls between, kept while it may be needed again."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Final

from streaming.audio.sources import AudioFormat
from streaming.errors import AudioLostError, ProtocolError

KEPT_S: Final = 60.0
"""Audio kept behind what was sent last; of more, the oldest goes first."""
UNHEARD_S: Final = 15.0
"""Audio that may be on its way. It is well within what is kept, so that what is lost on the way can be sent again; and
a server that takes audio at the pace of speech answers a ping behind it before it passes for dead."""
FLUSH: Final = "flush"
CLOSE: Final = "close"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the stream: behind so many bytes of audio and so many controls."""

    position: int
    controls: int

    def covers(self, other: Place) -> bool:
        """Whether all that lies before the other place lies before this one."""
        return self.position >= other.position and self.controls >= other.controls


class Outgoing:
    """One stream on its way to the server. Positions count bytes from the stream's beginning.

    What has not been taken is never dropped: whoever pushes waits until it was.

    Args:
        audio: the format of what is pushed.
        kept_s: audio kept behind what was taken last.
        unheard_s: audio taken beyond what the server is known to have, above which no more is given.
    """

    def __init__(self, audio: AudioFormat, *, kept_s: float = KEPT_S, unheard_s: float = UNHEARD_S) -> None:
        self._bytes_per_s: Final = audio.bytes_per_s
        self._frame_bytes: Final = audio.bytes_per_s // audio.rate_hz
        self._kept_bytes: Final = round(kept_s * audio.bytes_per_s)
        self._unheard_bytes: Final = round(unheard_s * audio.bytes_per_s)
        self._audio = bytearray()
        self._start = 0
        self._next = 0
        self._heard = 0
        self._controls: deque[tuple[int, str]] = deque()
        self._forgotten_controls = 0
        self._taken_controls = 0
        self._closed = False

    @property
    def start(self) -> int:
        """Position of the oldest audio that is kept; on a whole sample of every channel."""
        return self._start

    @property
    def end(self) -> int:
        """Position behind all that was pushed."""
        return self._start + len(self._audio)

    @property
    def place(self) -> Place:
        """What is taken next begins here."""
        return Place(self._next, self._taken_controls)

    def push(self, data: bytes) -> Place:
        """Adds audio; the place is where it has been taken.

        Raises:
            ProtocolError: the stream was said to be over.
        """
        if self._closed:
            raise ProtocolError("no audio may follow finish(): open a new session for more")
        self._audio += data
        return Place(self.end, self._controls_before_end)

    def mark(self, control: str) -> Place:
        """Adds a control behind all audio so far; the place is where it has been taken.

        The same twice in a row is one, and nothing follows `close`.
        """
        if not self._closed and (not self._controls or self._controls[-1] != (self.end, control)):
            self._controls.append((self.end, control))
            self._closed = control == CLOSE
        return Place(self.end, self._controls_before_end)

    @property
    def _controls_before_end(self) -> int:
        return self._forgotten_controls + len(self._controls)

    def take(self, max_bytes: int) -> bytes | str | None:
        """The next piece of audio, or the next control; None where there is none, or too much is on its way.

        Args:
            max_bytes: of one piece.
        """
        index = self._taken_controls - self._forgotten_controls
        until = self._controls[index][0] if index < len(self._controls) else self.end
        if self._next == until and index < len(self._controls):
            self._taken_controls += 1
            return self._controls[index][1]
        if self._next == until or self._next - self._heard >= self._unheard_bytes:
            return None
        first = self._next - self._start
        piece = bytes(self._audio[first : first + min(max_bytes, until - self._next)])
        self._next += len(piece)
        self.forget(self._next - self._kept_bytes)
        return piece

    def heard(self, position: int) -> None:
        """The server has what lies before; more may be taken."""
        self._heard = max(self._heard, min(position, self._next))

    def rewind(self, position: int) -> None:
        """What comes behind is sent again, and so are the controls there.

        Raises:
            AudioLostError: some of it is not kept any more; nothing changes.
            ProtocolError: there was never so much; nothing changes.
        """
        if position < self._start:
            lost_s = (self._start - position) / self._bytes_per_s
            raise AudioLostError(
                f"{lost_s:.1f} s of audio are lost: the server needs them again, and they are not kept any more; "
                "send the recording again from there"
            )
        if position > self.end:
            raise ProtocolError(f"the server claims {position} bytes of audio where only {self.end} were sent")
        self._next = self._heard = position
        index = bisect_left(self._controls, position, key=lambda control: control[0])
        self._taken_controls = self._forgotten_controls + index

    def forget(self, position: int) -> None:
        """What was taken and lies before is needed no more."""
        start = min(position, self._next) // self._frame_bytes * self._frame_bytes
        if start <= self._start:
            return
        del self._audio[: start - self._start]
        self._start = start
        while self._controls and self._controls[0][0] < start:
            self._controls.popleft()
            self._forgotten_controls += 1
