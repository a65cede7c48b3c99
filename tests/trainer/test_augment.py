from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augment import VIEWS, add_noise, change_speed, gain, mulaw, reverberate, telephone, view
from trainer.errors import RecipeError

RATE_HZ = 16_000


def tone(hz: float, seconds: float = 0.5, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def rms(samples: np.ndarray) -> float:
    inner = samples[800:-800].astype(np.float64)
    return float(np.sqrt(np.mean(inner**2)))


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("name", VIEWS)
class TestEveryView:
    def test_the_same_clip_always_sounds_the_same(self, name: str) -> None:
        clip = tone(300)
        np.testing.assert_array_equal(view(name).apply(clip, "c/1"), view(name).apply(clip, "c/1"))

    def test_a_clip_is_not_changed_in_place(self, name: str) -> None:
        clip = tone(300)
        before = clip.copy()
        view(name).apply(clip, "c/1")
        np.testing.assert_array_equal(clip, before)

    @pytest.mark.parametrize("samples", [np.zeros(3200, np.float32), tone(200, 0.003), np.ones(1600, np.float32)])
    def test_silence_a_few_samples_and_a_constant_stay_finite_and_in_range(
        self, name: str, samples: np.ndarray
    ) -> None:
        seen = view(name).apply(samples, "c/1")
        assert seen.dtype == np.float32
        assert seen.size > 0
        assert np.isfinite(seen).all()
        assert np.abs(seen).max() <= 1.0
        assert name in ("slower", "faster") or seen.size == samples.size


@pytest.mark.parametrize("name", ["noise", "noisy_telephone", "gain", "room"])
def test_chance_differs_by_utterance_and_seed(name: str) -> None:
    clip = tone(440)
    one, other = view(name).apply(clip, "c/1"), view(name).apply(clip, "c/2")
    reseeded = view(name).apply(clip, "c/1", seed=1)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, reseeded)


def test_the_clean_view_changes_nothing() -> None:
    np.testing.assert_array_equal(view("clean").apply(tone(440), "c/1"), tone(440))


def test_a_view_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RecipeError, match="no view 'radio'"):
        view("radio")


class TestTelephone:
    @pytest.mark.parametrize("hz", [500, 1000, 2000, 3000])
    def test_tones_inside_the_band_pass(self, hz: float) -> None:
        assert rms(telephone(tone(hz))) == pytest.approx(rms(tone(hz)), rel=0.06)

    @pytest.mark.parametrize("hz", [60, 150, 3800, 5000, 7000])
    def test_tones_outside_the_band_are_gone(self, hz: float) -> None:
        assert rms(telephone(tone(hz))) < 0.05 * rms(tone(hz))

    def test_it_delays_nothing(self) -> None:
        clip = tone(1000) * np.hanning(8000).astype(np.float32)
        lags = np.correlate(telephone(clip), clip, mode="same")
        assert abs(int(lags.argmax()) - 4000) <= 1


class TestMulaw:
    def test_all_256_codes_and_no_more_come_out(self) -> None:
        ramp = np.arange(-32768, 32768, dtype=np.float32) / 32768
        assert np.unique(mulaw(ramp)).size == 255  # plus and minus zero are one value

    def test_ffmpeg_agrees_but_at_the_edges_of_segments_where_it_takes_the_next_code(self) -> None:
        pcm = np.arange(-32768, 32768, 3, dtype=np.int16)
        reference = through_ffmpeg(pcm)
        ours = np.rint(mulaw(pcm.astype(np.float32) / 32768) * 32768)
        assert (ours == reference).mean() > 0.97
        codes = np.unique(reference)
        np.testing.assert_array_equal(np.unique(ours), codes)
        assert np.abs(np.searchsorted(codes, ours) - np.searchsorted(codes, reference)).max() == 1

    @settings(deadline=None)
    @given(st.floats(-1, 1, width=32))
    def test_it_is_odd_and_already_coded_samples_stay(self, sample: float) -> None:
        once = mulaw(np.array([sample], np.float32))
        np.testing.assert_array_equal(mulaw(once), once)
        if abs(sample) < 1:
            np.testing.assert_array_equal(mulaw(np.array([-sample], np.float32)), -once)


class TestNoise:
    @pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
    @pytest.mark.parametrize("pink", [False, True])
    def test_the_ratio_is_what_was_asked_for(self, snr_db: float, pink: bool) -> None:
        clip = tone(440, seconds=1.0)
        noise = add_noise(clip, snr_db, rng(), pink=pink) - clip
        assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.05)

    def test_pink_noise_falls_with_frequency(self) -> None:
        clip = tone(440, seconds=2.0)
        spectrum = np.abs(np.fft.rfft(add_noise(clip, 0.0, rng(), pink=True) - clip)) ** 2
        hz = np.fft.rfftfreq(clip.size, 1 / RATE_HZ)
        octaves = [spectrum[(hz >= low) & (hz < 2 * low)].mean() for low in (250, 500, 1000, 2000, 4000)]
        falls = 10 * np.diff(np.log10(octaves))
        np.testing.assert_allclose(falls, -3.0, atol=1.0)


def test_gain_is_in_decibels_and_clips_at_full_scale() -> None:
    assert rms(gain(tone(440), -6.0)) == pytest.approx(rms(tone(440)) * 10 ** (-6 / 20), rel=1e-4)
    assert np.abs(gain(tone(440), 12.0)).max() == 1.0


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch_alike(factor: float) -> None:
    faster = change_speed(tone(440, seconds=1.0), factor)
    assert faster.size == pytest.approx(RATE_HZ / factor, abs=2)
    peak = np.abs(np.fft.rfft(faster)).argmax() * RATE_HZ / faster.size
    assert peak == pytest.approx(440 * factor, abs=2)


class TestReverberation:
    def test_a_click_is_followed_by_a_tail_that_decays_by_60_db(self) -> None:
        click = np.zeros(RATE_HZ, np.float32)
        click[0] = 0.9
        wet = reverberate(click, 0.4, 0.0, rng()).astype(np.float64)
        early, late = wet[1:640], wet[5760:6400]  # 0 to 40 ms and 360 to 400 ms
        assert 10 * np.log10(np.mean(early**2) / np.mean(late**2)) == pytest.approx(54, abs=3)
        np.testing.assert_allclose(wet[6400:], 0.0, atol=1e-6)

    def test_the_share_of_reflections_is_what_was_asked_for(self) -> None:
        click = np.zeros(RATE_HZ, np.float32)
        click[0] = 0.9
        wet = reverberate(click, 0.3, -6.0, rng()).astype(np.float64)
        assert 10 * np.log10(np.sum(wet[1:] ** 2) / wet[0] ** 2) == pytest.approx(-6.0, abs=0.05)

    def test_the_peak_stays(self) -> None:
        clip = tone(440)
        assert np.abs(reverberate(clip, 0.5, 3.0, rng())).max() == pytest.approx(np.abs(clip).max(), rel=1e-4)


def through_ffmpeg(pcm: np.ndarray) -> np.ndarray:
    """Coded and decoded again by an implementation that is not ours."""
    source, coded = io.BytesIO(), io.BytesIO()
    with wave.open(source, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm.tobytes())
    source.seek(0)
    with av.open(source) as reader, av.open(coded, "w", format="wav") as writer:
        stream = writer.add_stream("pcm_mulaw", rate=8000, layout="mono")
        for frame in reader.decode(audio=0):
            frame.pts = None
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    coded.seek(0)
    with av.open(coded) as reader:
        return np.concatenate([frame.to_ndarray()[0] for frame in reader.decode(audio=0)]).astype(np.float64)
