"""Clips cut to their speech, with the margins the live path keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.windows import ENCODER_HOP_SAMPLES, SAMPLE_RATE_HZ
from trainer.silence import LEAD_S, SPEECH_BELOW_LOUDEST_DB, TAIL_S, trim_silence

FRAME_S = ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ


def clip(lead_s: float, speech_s: float, tail_s: float, *, speech_db: float, floor_db: float) -> NDArray[np.float32]:
    """A tone between two stretches of noise."""
    rng = np.random.default_rng(0)
    lead, speech, tail = (round(seconds * SAMPLE_RATE_HZ) for seconds in (lead_s, speech_s, tail_s))
    noise = rng.normal(scale=10 ** (floor_db / 20), size=lead + speech + tail)
    tone = np.sqrt(2) * 10 ** (speech_db / 20) * np.sin(np.arange(speech) * 2 * np.pi * 220 / SAMPLE_RATE_HZ)
    noise[lead : lead + speech] += tone
    return noise.astype(np.float32)


@pytest.mark.parametrize("floor_db", [-100.0, -80.0, -60.0])
@pytest.mark.parametrize("speech_db", [-12.0, -24.0])
def test_silence_is_cut_down_to_the_margins_whatever_its_level(floor_db: float, speech_db: float) -> None:
    samples = clip(1.0, 0.8, 1.0, speech_db=speech_db, floor_db=floor_db)
    cut = trim_silence(samples)
    # Smoothing may take the frame next to speech for speech.
    assert cut.size / SAMPLE_RATE_HZ == pytest.approx(LEAD_S + 0.8 + TAIL_S, abs=2 * FRAME_S + 1e-6)
    start = int(np.flatnonzero(np.abs(cut) > 10 ** (speech_db / 20))[0])
    assert start / SAMPLE_RATE_HZ == pytest.approx(LEAD_S, abs=FRAME_S + 1e-3)


def test_it_is_a_view_of_the_clip() -> None:
    samples = clip(1.0, 0.5, 1.0, speech_db=-20, floor_db=-80)
    assert np.shares_memory(trim_silence(samples), samples)


def test_pauses_within_speech_stay() -> None:
    phrase = clip(0.0, 0.5, 1.0, speech_db=-20, floor_db=-80)
    cut = trim_silence(np.concatenate([phrase, phrase]))
    assert cut.size / SAMPLE_RATE_HZ == pytest.approx(0.5 + 1.0 + 0.5 + TAIL_S, abs=2 * FRAME_S)


def test_margins_that_the_clip_has_not_are_not_made_up() -> None:
    samples = clip(0.1, 0.5, 0.05, speech_db=-20, floor_db=-80)
    np.testing.assert_array_equal(trim_silence(samples), samples)


def test_quiet_speech_within_reach_of_the_loudest_is_kept() -> None:
    loud = clip(0.0, 0.5, 0.0, speech_db=-10, floor_db=-90)
    quiet = clip(1.0, 0.5, 0.0, speech_db=-10 - SPEECH_BELOW_LOUDEST_DB + 5, floor_db=-90)
    assert trim_silence(np.concatenate([loud, quiet])).size == loud.size + quiet.size


@pytest.mark.parametrize("samples", [0, 1, 2 * ENCODER_HOP_SAMPLES + 1])
def test_a_clip_too_short_to_tell_is_kept_whole(samples: int) -> None:
    assert trim_silence(np.zeros(samples, np.float32)).size == samples


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12_000), st.integers(0, 2**32 - 1))
def test_what_is_left_is_one_stretch_of_the_clip_and_never_empty(size: int, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(scale=0.1, size=size).astype(np.float32)
    samples[: size // 3] *= 1e-4
    cut = trim_silence(samples)
    assert (cut.size > 0) == (size > 0)
    assert cut.tobytes() in samples.tobytes()


def test_digital_silence_is_kept_whole_for_there_is_no_speech_to_cut_to() -> None:
    assert trim_silence(np.zeros(SAMPLE_RATE_HZ, np.float32)).size == SAMPLE_RATE_HZ
