"""What the clients of the live benchmark say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.live_speech import TAIL_S, TALKERS, Talk, plan_talk, spoken_clips
from benchmarks.spoken_clips import Clip

CLIPS = [Clip(Path(f"{i}.flac"), np.full(16_000 * (2 + i), 0.5, dtype=np.float32), f"word{i}") for i in range(5)]


def talk(talker: str = "continuous", *, seed: int = 1, stream: int = 0, seconds: float = 60.0) -> Talk:
    return plan_talk(CLIPS, TALKERS[talker], seconds=seconds, seed=seed, stream=stream)


def test_the_same_seed_says_the_same() -> None:
    assert talk().starts == talk().starts
    assert talk().words == talk().words
    assert np.array_equal(talk().rendered(3), talk().rendered(3))


def test_another_client_or_another_seed_says_something_else_at_other_times() -> None:
    said = [talk(), talk(stream=1), talk(seed=2)]

    assert len({one.starts[0] for one in said}) == len({one.words for one in said}) == 3


def test_every_clip_is_said_before_one_is_said_again() -> None:
    words = talk().words.split()

    assert len(words) > len(CLIPS)
    assert set(words[: len(CLIPS)]) == {clip.reference for clip in CLIPS}


def test_utterances_lie_whole_and_apart_and_end_before_the_silence_at_the_end() -> None:
    said = talk()
    ends = [start + len(clip.samples) for start, clip in zip(said.starts, said.clips, strict=True)]

    assert all(end < start for end, start in zip(ends, said.starts[1:], strict=False))
    assert ends[-1] <= said.samples - TAIL_S * 16_000
    assert said.seconds == 60.0 + TAIL_S


def test_continuous_talkers_hardly_pause_and_conversations_are_half_silence() -> None:
    continuous = np.mean([talk(stream=i, seconds=300).speech_share for i in range(20)])
    conversation = np.mean([talk("conversation", stream=i, seconds=300).speech_share for i in range(20)])

    assert 0.8 < continuous < 0.95
    assert 0.4 < conversation < 0.6


def test_speech_stands_where_it_was_planned_over_quiet_noise() -> None:
    said = talk()
    audio = said.rendered(0)

    first = said.starts[0]
    assert audio[first] > 0.4
    assert 0 < np.abs(audio[:first]).max() < 0.01
    assert audio.shape == (said.samples,)


def test_without_a_corpus_the_packaged_clips_are_said_each_once() -> None:
    clips = spoken_clips(None)

    assert len(clips) >= 12
    assert len({clip.path for clip in clips}) == len(clips)
    assert all(clip.reference and len(clip.samples) > 16_000 for clip in clips)


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(ValueError, match="no clips"):
        plan_talk([], TALKERS["continuous"], seconds=10, seed=0, stream=0)
