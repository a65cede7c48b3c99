"""What the clients of `medusa bench live` say: real utterances, joined by pauses that a seed draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.spoken_clips import REFERENCES, Clip, load_clips
from models.windows import SAMPLE_RATE_HZ
from streaming.conversation import load_conversation

TAIL_S: Final = 2.0
"""Silence behind the last utterance, so that it ends as all others do."""
LARGEST_OFFSET_S: Final = 4.0
"""Before a client's first word: clients do not begin in step."""

_PAUSE_MEDIAN_S: Final = 0.5
_PAUSE_SIGMA: Final = 0.5
"""Pauses of speakers follow a log-normal distribution."""
_PAUSE_BOUNDS_S: Final = (0.15, 2.0)
_REST_BOUNDS: Final = (0.5, 1.5)
_TURN_CLIPS: Final = (1, 3)
_NOISE_LEVEL: Final = 10 ** (-65 / 20)
"""Of the quiet noise under everything: a line is never digitally silent."""
_TEST_CLIPS: Final = Path(__file__).parents[1] / "tests" / "data" / "librispeech"


@dataclass(frozen=True, slots=True)
class Talker:
    """How much of the time somebody speaks."""

    name: str
    listens: bool
    """Whether as long as a turn lasts, on average, somebody else speaks after it."""


TALKERS: Final = MappingProxyType(
    {
        talker.name: talker
        for talker in (
            Talker("continuous", listens=False),
            Talker("conversation", listens=True),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Talk:
    """One client's minutes."""

    samples: int
    """Length at 16 kHz, with the silence at its end."""
    clips: tuple[Clip, ...] = field(repr=False)
    """In the order in which they are said."""
    starts: tuple[int, ...]
    """The first sample of each."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.samples / SAMPLE_RATE_HZ

    @property
    def words(self) -> str:
        """All that is said."""
        return " ".join(clip.reference for clip in self.clips)

    @property
    def speech_share(self) -> float:
        """Of the time, that lies within utterances."""
        return sum(len(clip.samples) for clip in self.clips) / self.samples

    def rendered(self, seed: int) -> NDArray[np.float32]:
        """Its audio, `[samples]` at 16 kHz; the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal(self.samples, dtype=np.float32)
        audio = noise * np.float32(_NOISE_LEVEL)
        for start, clip in zip(self.starts, self.clips, strict=True):
            audio[start : start + len(clip.samples)] += clip.samples
        return np.asarray(np.clip(audio, -1.0, 1.0), dtype=np.float32)


def plan_talk(clips: Sequence[Clip], talker: Talker, *, seconds: float, seed: int, stream: int) -> Talk:
    """What one client says; the same for the same arguments.

    Args:
        clips: to choose from; each client goes through all of them in an order of its own, then again in another.
        talker: how much it speaks.
        seconds: how long; utterances that would not end by then are left out, and `TAIL_S` of silence is added.
        seed: of the whole run.
        stream: the client's number.

    Raises:
        ValueError: there are no clips.
    """
    if not clips:
        raise ValueError("there are no clips to say")
    rng = np.random.default_rng([seed, stream])
    end = round(seconds * SAMPLE_RATE_HZ)
    at = _samples(rng.uniform(0.0, min(LARGEST_OFFSET_S, seconds / 4)))
    said: list[Clip] = []
    starts: list[int] = []
    order: list[int] = []
    turn_start, turn_left = at, _turn(rng)
    while True:
        order = order or rng.permutation(len(clips)).tolist()
        clip = clips[order.pop()]
        if at + len(clip.samples) > end:
            break
        said.append(clip)
        starts.append(at)
        at += len(clip.samples)
        turn_left -= 1
        pause_s = float(np.clip(rng.lognormal(np.log(_PAUSE_MEDIAN_S), _PAUSE_SIGMA), *_PAUSE_BOUNDS_S))
        if talker.listens and turn_left == 0:
            at += round((at - turn_start) * rng.uniform(*_REST_BOUNDS))
            turn_start, turn_left = at, _turn(rng)
        else:
            at += _samples(pause_s)
    return Talk(end + _samples(TAIL_S), tuple(said), tuple(starts))


def spoken_clips(corpus: Path | None, limit: int | None = None) -> list[Clip]:
    """Utterances to say.

    Args:
        corpus: a folder that `load_clips` reads; None for what comes with the package (the demo's conversation) and,
            in a checkout, with the tests.
        limit: how many of a corpus at most, the first ones.

    Raises:
        CorpusFormatError: the folder is not one of clips and their words.
        CorpusError: a clip cannot be read.
    """
    if corpus is not None:
        return load_clips(corpus, limit)
    conversation = load_conversation()
    clips = []
    for clip in conversation.clips:
        start, end = (round(at_s * conversation.rate_hz) for at_s in (clip.start_s, clip.end_s))
        clips.append(Clip(Path(clip.source), conversation.samples[clip.channel, start:end], clip.words))
    names = {clip.path.name for clip in clips}
    if (_TEST_CLIPS / REFERENCES).is_file():
        clips += [clip for clip in load_clips(_TEST_CLIPS) if clip.path.name not in names]
    return clips


def _turn(rng: np.random.Generator) -> int:
    return int(rng.integers(_TURN_CLIPS[0], _TURN_CLIPS[1], endpoint=True))


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)
