from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.segmenter import FRAME_SAMPLES
from streaming.voicing import VoicedFrames


def heard(pattern: str, horizon_frames: int = 100) -> VoicedFrames:
    """Speech where the pattern has a `#`, one character a frame, all in one push."""
    frames = VoicedFrames(horizon_frames * FRAME_SAMPLES)
    frames.push(np.array([mark == "#" for mark in pattern]))
    return frames


def span(frames: VoicedFrames, start_frame: float, end_frame: float) -> tuple[float, float]:
    start, end = frames.span(round(start_frame * FRAME_SAMPLES), round(end_frame * FRAME_SAMPLES))
    return start / FRAME_SAMPLES, end / FRAME_SAMPLES


def test_margins_without_speech_are_left_out() -> None:
    assert span(heard("...##.#.."), 1, 9) == (3, 7)


def test_speech_outside_the_range_does_not_count() -> None:
    assert span(heard("##..##..##"), 2, 8) == (4, 6)


def test_a_range_that_cuts_a_frame_cuts_the_span() -> None:
    assert span(heard(".####."), 1.5, 4.25) == (1.5, 4.25)


def test_a_range_without_speech_is_its_own_span() -> None:
    assert span(heard("##......"), 3, 6) == (3, 6)


def test_a_range_before_the_horizon_is_its_own_span() -> None:
    frames = heard("##", horizon_frames=2)
    for _ in range(50):
        frames.push(np.zeros(1, dtype=np.bool_))
    assert span(frames, 0, 2) == (0, 2)


@given(st.text(alphabet=".#", min_size=1, max_size=80), st.data())
def test_the_span_is_that_of_the_whole_stream_however_it_was_pushed(pattern: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(pattern) - 1))
    end = data.draw(st.integers(start + 1, len(pattern)))
    frames = VoicedFrames((len(pattern) - start) * FRAME_SAMPLES)
    rest = pattern
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        frames.push(np.array([mark == "#" for mark in rest[:size]]))
        rest = rest[size:]
    inside = pattern[start:end]
    expected = (start + inside.index("#"), start + inside.rindex("#") + 1) if "#" in inside else (start, end)
    assert span(frames, start, end) == expected
