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
from streaming.audio.segmenter import FRAME_SAMPLES
from streaming.audio.vad import VoiceActivityDetector
from streaming.config import VadSettings

RECORDINGS: Final = 8
LENGTHS: Final = (0.5, 1.5)
"""Of calls, as shares of the usual length."""
LEAST_S: Final = 0.4
"""Shorter sounds may or may not be speech to a detector, by what it heard before."""
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Recordings:
    """Calls, in files of mono PCM16 at 16 kHz without a header."""

    paths: list[Path]
    speech: list[list[tuple[float, float]]]
    """Of each, where somebody speaks, in seconds."""


def speech_of(
    samples: NDArray[np.float32], settings: VadSettings, vad: Callable[[VadSettings], VoiceActivityDetector]
) -> list[tuple[float, float]]:
    """Where somebody surely speaks, in seconds: stretches that no segmenter may leave out, wherever it begins to hear.

    Args:
        samples: `[samples]`, 16 kHz.
        settings: of the server.
        vad: makes its detector.
    """
    detector = vad(settings)
    decided = [detector.push(samples[at : at + FRAME_SAMPLES]) for at in range(0, samples.size, FRAME_SAMPLES)]
    frames = np.flatnonzero(np.concatenate(decided) >= settings.threshold)
    bridged = settings.pause_ms * SAMPLE_RATE_HZ // (_MS_PER_S * FRAME_SAMPLES)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > bridged) + 1) if frames.size else []
    edges_s = [
        (int(run[0]) * FRAME_SAMPLES / SAMPLE_RATE_HZ, (int(run[-1]) + 1) * FRAME_SAMPLES / SAMPLE_RATE_HZ)
        for run in runs
    ]
    return [(start_s, end_s) for start_s, end_s in edges_s if end_s - start_s >= LEAST_S]


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
    return Recordings(paths, speech)
