"""How fast a session's audio may come: at the pace of speech, with some to catch up on."""

from __future__ import annotations

from typing import Final


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


UNLIMITED: Final = AudioPace(0.0, 0.0)
"""Lets everything through."""
