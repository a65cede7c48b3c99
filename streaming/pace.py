"""How fast a session's audio comes: at the pace of speech, with some to catch up on, or in a hurry."""

from __future__ import annotations

from typing import Final

LIVE_S: Final = 3.0
"""How far audio may be ahead of the clock and still count as live: messages may be long, and lines may bunch them."""
_FORGIVEN: Final = 0.5
"""Of the time that passes, what a lead shrinks by beside: a sender half as fast again as speech stays in a hurry."""
_HELD_UP_S: Final = 60.0
"""Silence on the wire that may be made up for."""


class AudioPace:
    """A token bucket in seconds of audio; pure, moments never go back.

    A microphone never meets it. What was held up, in a broken connection or by a client that starts with what it has
    recorded already, comes through at once as far as `burst_s` goes; the rest, at `max_speed` times real time.
    """

    def __init__(self, max_speed: float, burst_s: float) -> None:
        """A full bucket.

        Args:
            max_speed: times real time; 0 for no limit.
            burst_s: audio that may come at once.
        """
        self._max_speed = max_speed
        self._burst_s = burst_s
        self._left_s = burst_s
        self._seen_s: float | None = None

    def ahead_s(self, audio_s: float, now_s: float) -> float:
        """Takes audio, and says how long until more of it is due; 0 where it is on time.

        Args:
            audio_s: length of the audio that came.
            now_s: when it came.
        """
        if not self._max_speed:
            return 0.0
        passed_s = 0.0 if self._seen_s is None else max(0.0, now_s - self._seen_s)
        self._seen_s = now_s
        self._left_s = min(self._burst_s, self._left_s + passed_s * self._max_speed) - audio_s
        return max(0.0, -self._left_s / self._max_speed)


class Haste:
    """Whether audio comes faster than it is spoken; pure, moments never go back.

    Audio that a broken line held up is live: whoever was behind may catch up. A client that began with what it had
    recorded already is in a hurry for a while, then live, once it comes at the pace of speech.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._ahead_s = 0.0
        self._seen_s: float | None = None

    def heard(self, audio_s: float, now_s: float) -> bool:
        """Takes audio, and says whether it is in a hurry.

        Args:
            audio_s: its length.
            now_s: when it came.
        """
        passed_s = 0.0 if self._seen_s is None else max(0.0, now_s - self._seen_s)
        self._seen_s = now_s
        forgiven_s = min(max(0.0, self._ahead_s - passed_s), _FORGIVEN * passed_s)
        self._ahead_s = max(-_HELD_UP_S, self._ahead_s - passed_s - forgiven_s) + audio_s
        return self._ahead_s > LIVE_S


UNLIMITED: Final = AudioPace(0.0, 0.0)
"""Lets everything through."""
