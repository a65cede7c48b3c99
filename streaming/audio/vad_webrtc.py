"""WebRTC's detector: a Gaussian mixture over band energies, decided frame by frame."""

from __future__ import annotations

from typing import Final

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.segmenter import FRAME_SAMPLES

_SILENCE_RMS: Final = 10 ** (-60 / 20)
"""Frames under -60 dB of full scale are silence whatever their spectrum."""
_WINDOW: Final = 5
_ENTER: Final = 4
_LEAVE: Final = 1


class WebRtcVad:
    """`webrtcvad` with hysteresis, since its single decisions flicker.

    Speech begins when 4 of the latest 5 frames are speech, and ends when at most 1 still is.
    """

    def __init__(self, aggressiveness: int) -> None:
        """Starts in silence.

        Args:
            aggressiveness: 0 calls most things speech, 3 most things noise.
        """
        self._vad = webrtcvad.Vad(aggressiveness)
        self._rest = np.zeros(0, dtype=np.float32)
        self._recent: list[bool] = []
        self._speaking = False

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `VoiceActivityDetector.push`; 1 or 0."""
        samples = np.concatenate([self._rest, samples])
        count = samples.size // FRAME_SAMPLES
        self._rest = samples[count * FRAME_SAMPLES :]
        frames = samples[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
        loud = np.sqrt(np.square(frames).mean(axis=1)) > _SILENCE_RMS if count else np.zeros(0, dtype=np.bool_)
        pcm = np.clip(np.rint(frames * 32_768), -32_768, 32_767).astype("<i2")
        decided = np.zeros(count, dtype=np.float32)
        for i in range(count):
            speech = bool(loud[i]) and self._vad.is_speech(pcm[i].tobytes(), SAMPLE_RATE_HZ)
            decided[i] = self._steady(speech)
        return decided

    def _steady(self, speech: bool) -> bool:
        self._recent = [*self._recent, speech][-_WINDOW:]
        voiced = sum(self._recent)
        if self._speaking:
            self._speaking = voiced > _LEAVE
        else:
            self._speaking = voiced >= _ENTER
        return self._speaking
