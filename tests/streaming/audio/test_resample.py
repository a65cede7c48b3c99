"""Any rate to 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio.resample import StreamResampler
from streaming.errors import AudioFormatError

RATES = [8_000, 8_001, 11_025, 15_999, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def resample(samples: NDArray[np.float32], rate_hz: int, cuts: list[int] | None = None) -> NDArray[np.float32]:
    stream = StreamResampler(rate_hz)
    return np.concatenate([*(stream.push(part) for part in np.split(samples, cuts or [])), stream.flush()])


def swelling_tone(rate_hz: int, seconds: float, frequency_hz: float) -> NDArray[np.float32]:
    """A tone that swells and fades, so that a shift in time cannot hide."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * t) * np.sin(np.pi * t / seconds)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("frequency_hz", [100, 1_000, 3_400])
def test_sample_k_belongs_to_the_moment_k_over_16000(rate_hz: int, frequency_hz: float) -> None:
    out = resample(swelling_tone(rate_hz, 1.0, frequency_hz), rate_hz)
    expected = swelling_tone(16_000, 1.0, frequency_hz)
    np.testing.assert_allclose(out[:15_990], expected[:15_990], atol=2e-4)


@settings(max_examples=40, deadline=None)
@given(rate_hz=st.sampled_from(RATES) | st.integers(8_000, 192_000), share=st.floats(0.05, 0.5))
def test_no_sample_is_lost_or_added(rate_hz: int, share: float) -> None:
    samples = np.zeros(round(rate_hz * share), dtype=np.float32)
    assert abs(resample(samples, rate_hz).size - samples.size * 16_000 / rate_hz) <= 1


@settings(max_examples=40, deadline=None)
@given(rate_hz=st.sampled_from(RATES), cuts=st.lists(st.integers(0, 4_000), max_size=12))
def test_how_audio_is_cut_changes_no_sample(rate_hz: int, cuts: list[int]) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 4_000).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, rate_hz, sorted(cuts)), resample(samples, rate_hz))


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 192_000])
def test_what_16_khz_cannot_hold_is_removed_and_not_folded_back(rate_hz: int) -> None:
    out = resample(swelling_tone(rate_hz, 0.5, 9_500), rate_hz)
    assert np.abs(out).max() < 1e-3


def test_16_khz_passes_untouched() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, 16_000), samples)


@pytest.mark.parametrize(("rate_hz", "longest_wait_ms"), [(8_000, 35), (16_000, 0), (44_100, 45), (48_000, 45)])
def test_audio_does_not_wait_long_in_the_filter(rate_hz: int, longest_wait_ms: float) -> None:
    stream, chunk = StreamResampler(rate_hz), np.zeros(rate_hz // 50, dtype=np.float32)
    given_ms, got_ms, longest = 0.0, 0.0, 0.0
    for _ in range(200):
        got_ms += stream.push(chunk).size / 16
        given_ms += 1000 * chunk.size / rate_hz
        longest = max(longest, given_ms - got_ms)
    assert longest <= longest_wait_ms


def test_after_a_flush_another_stream_begins() -> None:
    tone = swelling_tone(8_000, 0.2, 400)
    stream = StreamResampler(8_000)
    first = np.concatenate([stream.push(tone), stream.flush()])
    second = np.concatenate([stream.push(tone), stream.flush()])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_an_empty_stream_gives_nothing(rate_hz: int) -> None:
    assert resample(np.zeros(0, dtype=np.float32), rate_hz).size == 0


@pytest.mark.parametrize("rate_hz", [-1, 0, 7_999, 192_001])
def test_rates_outside_8_to_192_khz_are_refused(rate_hz: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{rate_hz} Hz is outside 8000 to 192000 Hz"):
        StreamResampler(rate_hz)
