"""What well-behaved clients say in chaos, and where in it somebody speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos_plan import ChaosPlan
from benchmarks.live_speech import TAIL_S, TALKERS, plan_talk
from benchmarks.spoken_clips import Clip
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, decode, encode
from streaming.audio.segmenter import FRAME_SAMPLES, Segmenter, SpeechEnded
from streaming.audio.vad import VoiceActivityDetector
from streaming.config import VadSettings

RECORDINGS: Final = 8
LENGTHS: Final = (0.5, 1.5)
"""Of calls, as shares of the usual length."""
_FIRST_CALL_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class Recordings:
    """Calls, in files of mono PCM16 at 16 kHz without a header."""

    paths: list[Path]
    speech: list[list[tuple[float, float]]]
    """Of each, where somebody speaks, in seconds."""
    first: Path
    """A short one, for before the chaos."""


def speech_of(
    samples: NDArray[np.float32], settings: VadSettings, vad: Callable[[VadSettings], VoiceActivityDetector]
) -> list[tuple[float, float]]:
    """Where somebody speaks, as an undisturbed server would find it, in seconds.

    Args:
        samples: `[samples]`, 16 kHz.
        settings: of the server.
        vad: makes its detector.
    """
    detector, segmenter = vad(settings), Segmenter(settings)
    decided = [detector.push(samples[at : at + FRAME_SAMPLES]) for at in range(0, samples.size, FRAME_SAMPLES)]
    speech = np.concatenate(decided)
    frames = samples[: speech.size * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    events = [*segmenter.push(frames, speech), *segmenter.flush()]
    return [
        (event.start_sample / SAMPLE_RATE_HZ, event.end_sample / SAMPLE_RATE_HZ)
        for event in events
        if isinstance(event, SpeechEnded)
    ]


def record(
    clips: Sequence[Clip],
    plan: ChaosPlan,
    folder: Path,
    settings: VadSettings,
    vad: Callable[[VadSettings], VoiceActivityDetector],
) -> Recordings:
    """Writes all recordings of a run.

    Args:
        clips: to say.
        plan: of the run.
        folder: where.
        settings: of the server's detector.
        vad: makes it.
    """
    rng = np.random.default_rng(plan.seed)
    paths, speech = [], []
    for recording, share in enumerate(rng.uniform(*LENGTHS, RECORDINGS)):
        seconds = max(TAIL_S, float(share) * plan.call_s - TAIL_S)
        talk = plan_talk(clips, TALKERS["continuous"], seconds=seconds, seed=plan.seed, stream=recording)
        data = encode(talk.rendered(recording), Encoding.PCM16)
        paths.append(folder / f"recording-{recording}.pcm")
        paths[-1].write_bytes(data)
        speech.append(speech_of(decode(data, Encoding.PCM16), settings, vad))
    first = folder / "first.pcm"
    first.write_bytes(paths[0].read_bytes()[: round(_FIRST_CALL_S * SAMPLE_RATE_HZ) * Encoding.PCM16.sample_bytes])
    return Recordings(paths, speech, first)
