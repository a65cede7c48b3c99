"""What detectors take for speech."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio.codecs import Encoding, decode, encode
from streaming.audio.resample import StreamResampler
from streaming.audio.segmenter import FRAME_SAMPLES, Segmenter, SpeechEnded
from streaming.audio.sources import read_file
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.audio.vad_silero import SileroVad, _session
from streaming.audio.vad_webrtc import WebRtcVad
from streaming.config import VadSettings
from streaming.errors import ConfigError

DATA = Path(__file__).parents[2] / "data"
CLIPS = [clip["file"] for clip in json.loads((DATA / "clips.json").read_text(encoding="utf-8"))]
MAKERS: list[Callable[[], VoiceActivityDetector]] = [SileroVad, lambda: WebRtcVad(2)]
both = pytest.mark.parametrize("make", MAKERS, ids=["silero", "webrtc"])

RATE = 16_000


def clip(name: str) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = read_file(DATA / name).samples[0]
    return samples


def noise(seconds: float, dbfs: float, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return (random.standard_normal(round(seconds * RATE)) * 10 ** (dbfs / 20)).astype(np.float32)


def chord(seconds: float, *frequencies_hz: float) -> NDArray[np.float32]:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.2 * sum(np.sin(2 * np.pi * f * t) for f in frequencies_hz)).astype(np.float32)


def energetic(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames within 10 dB of the loudest: what nobody would call a pause."""
    frames = samples[: samples.size // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = np.square(frames).mean(axis=1)
    return np.asarray(power > power.max() * 10**-1.0)


def segments(samples: NDArray[np.float32], chosen: VadSettings) -> list[SpeechEnded]:
    decided = make_vad(chosen).push(samples)
    segmenter = Segmenter(chosen)
    frames = samples[: len(decided) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    events = segmenter.push(frames, decided) + segmenter.flush()
    return [event for event in events if isinstance(event, SpeechEnded)]


@both
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 36_409), max_size=30))
def test_how_audio_is_cut_changes_no_decision(make: Callable[[], VoiceActivityDetector], cuts: list[int]) -> None:
    samples = clip(CLIPS[0])
    vad = make()
    parts = np.concatenate([vad.push(part) for part in np.split(samples, sorted(cuts))])
    np.testing.assert_allclose(parts, make().push(samples), atol=1e-6)


@both
def test_long_audio_is_judged_as_the_same_audio_in_pieces(make: Callable[[], VoiceActivityDetector]) -> None:
    samples = np.concatenate([clip(name) for name in CLIPS])
    whole, vad = make().push(samples), make()
    pieces = np.concatenate([vad.push(part) for part in np.split(samples, range(320, samples.size, 320))])
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@both
@pytest.mark.parametrize("samples", [0, 1, 319, 320, 511, 512, 5_000, 5_119, 5_120])
def test_every_frame_is_judged_at_most_a_chunk_of_the_detector_late(
    make: Callable[[], VoiceActivityDetector], samples: int
) -> None:
    decided = make().push(np.zeros(samples, dtype=np.float32))
    assert decided.dtype == np.float32
    assert (samples - 511) // FRAME_SAMPLES <= len(decided) <= samples // FRAME_SAMPLES


@both
def test_no_decision_depends_on_what_comes_after_its_chunk(make: Callable[[], VoiceActivityDetector]) -> None:
    samples = clip(CLIPS[0])
    cut = 20_000
    changed = np.concatenate([samples[:cut], noise(1.0, -20)])
    known = (cut - 511) // FRAME_SAMPLES
    np.testing.assert_allclose(make().push(changed)[:known], make().push(samples)[:known], atol=1e-6)


@both
def test_two_detectors_share_no_state(make: Callable[[], VoiceActivityDetector]) -> None:
    samples, other = clip(CLIPS[0]), clip(CLIPS[-1])
    one, two = make(), make()
    decided = []
    for mine, theirs in zip(np.array_split(samples, 23), np.array_split(other, 23), strict=True):
        decided.append(one.push(mine))
        two.push(theirs)
    np.testing.assert_allclose(np.concatenate(decided), make().push(samples), atol=1e-6)


@both
@pytest.mark.parametrize("after", [0.0, 2.0])
def test_digital_silence_is_never_speech(make: Callable[[], VoiceActivityDetector], after: float) -> None:
    vad = make()
    vad.push(clip(CLIPS[0])[: round(after * RATE)])
    decided = vad.push(np.zeros(10 * RATE, dtype=np.float32))
    settled = decided[15:]  # 0.3 s for what was said before to fade
    assert (settled < VadSettings().threshold).all()


@pytest.mark.parametrize("name", CLIPS)
def test_the_default_detector_hears_every_clip(name: str) -> None:
    samples = np.concatenate([noise(1, -66), clip(name), noise(1, -66)])
    chosen = VadSettings()
    covered = np.zeros(samples.size, dtype=np.bool_)
    for segment in segments(samples, chosen):
        covered[segment.start_sample : segment.end_sample] = True
    frames = covered[: samples.size // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).all(axis=1)
    assert frames[energetic(samples)].mean() > 0.97


@pytest.mark.parametrize("name", CLIPS[::3])
def test_the_default_detector_hears_a_clip_on_a_noisy_telephone(name: str) -> None:
    samples = clip(name)
    level = 10 * np.log10(np.square(samples).mean()) - 10
    noisy = np.concatenate([noise(1, level, 1), samples + noise(samples.size / RATE, level)[: samples.size]])
    line = StreamResampler(32_000)  # told so, it halves the rate of what has 16 kHz
    sent = decode(encode(line.push(noisy), Encoding.MULAW), Encoding.MULAW)
    phone = StreamResampler(8_000)
    heard = np.concatenate([phone.push(sent), phone.flush()])
    assert segments(heard, VadSettings())


@pytest.mark.parametrize(
    "samples",
    [
        chord(6, 440),
        chord(6, 1_000),
        chord(6, 350, 440),
        chord(6, 262, 330, 392, 523),
        noise(6, -20),
        noise(6, -40),
        noise(6, -60),
    ],
    ids=["a4", "beep", "dial tone", "chord", "loud noise", "noise", "quiet noise"],
)
def test_the_default_detector_takes_no_tone_chord_or_noise_for_speech(samples: NDArray[np.float32]) -> None:
    assert segments(samples, VadSettings()) == []


@pytest.mark.parametrize("dbfs", [-40, -60])
def test_webrtc_takes_no_quiet_noise_for_speech(dbfs: float) -> None:
    assert segments(noise(6, dbfs), VadSettings(kind="webrtc", threshold=0.5)) == []


def test_webrtc_begins_with_four_of_five_frames_and_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scripted:
        def __init__(self, aggressiveness: int) -> None:
            self.script = iter("1110001111110111000000000")

        def is_speech(self, pcm: bytes, rate_hz: int) -> bool:
            return next(self.script) == "1"

    monkeypatch.setattr("streaming.audio.vad_webrtc.webrtcvad.Vad", Scripted)
    decided = WebRtcVad(2).push(np.full(25 * FRAME_SAMPLES, 0.1, dtype=np.float32))
    assert "".join(str(int(d)) for d in decided) == "0000000001111111111000000"


@pytest.mark.parametrize(("kind", "expected"), [("silero", SileroVad), ("webrtc", WebRtcVad)])
def test_the_configuration_chooses_the_detector(kind: str, expected: type) -> None:
    assert isinstance(make_vad(VadSettings.model_validate({"kind": kind})), expected)


def test_without_the_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _session.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    try:
        with pytest.raises(ConfigError, match="install it, or use webrtc"):
            SileroVad()
    finally:
        _session.cache_clear()
