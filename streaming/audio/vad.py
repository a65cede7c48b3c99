"""Voice activity detection: what every detector offers, and which one the configuration asks for."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.config import VadSettings


class VoiceActivityDetector(Protocol):
    """One channel's detector: it keeps what it heard, so two channels never share one."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judges every frame of 20 ms that can be judged by now; what is left waits for more audio.

        Args:
            samples: `[samples]` at 16 kHz, any number.

        Returns:
            `[frames]`, how likely each is speech, 0 to 1; frames follow on those of the last call.
        """
        ...


def make_vad(settings: VadSettings) -> VoiceActivityDetector:
    """A fresh detector for one channel.

    Args:
        settings: its kind, and what the kind needs.

    Raises:
        ConfigError: the detector's model is not installed.
    """
    # Each brings a library of its own; only the one asked for is loaded.
    if settings.kind == "silero":
        from streaming.audio.vad_silero import SileroVad

        return SileroVad()
    from streaming.audio.vad_webrtc import WebRtcVad

    return WebRtcVad(settings.aggressiveness)
