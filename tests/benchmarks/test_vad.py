"""What the detectors are measured on, and how."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks import vad, vad_signals
from benchmarks.vad_signals import Signal, not_speech, spoken, telephoned
from streaming.audio.segmenter import FRAME_SAMPLES
from streaming.config import VadSettings
from tests.fakes.vad import LoudnessVad

DATA = Path(__file__).parents[1] / "data"
RESULTS = Path(vad.__file__).parent / "results" / "vad.json"
SETTINGS = VadSettings(threshold=0.5)


def burst(seconds: float = 1.0) -> NDArray[np.float32]:
    """A clip of quiet, a loud second, and quiet."""
    quiet = np.random.default_rng(0).uniform(-1e-4, 1e-4, 16_000).astype(np.float32)
    loud = np.random.default_rng(1).uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)
    return np.concatenate([quiet, loud, quiet])


def test_sure_speech_is_where_the_clip_is_loud() -> None:
    signal = spoken("bursts", [burst(), burst()])
    assert signal.samples.size == 8 * 16_000 + 16_000
    first, second = signal.clips
    assert first[0] == pytest.approx(2 * 16_000, abs=2 * FRAME_SAMPLES)
    assert first[1] == pytest.approx(3 * 16_000, abs=2 * FRAME_SAMPLES)
    assert second[0] - first[0] == 4 * 16_000
    assert not (signal.speech & signal.silence).any()
    assert signal.silence.sum() == 3 * 50


def test_a_telephone_keeps_the_length_and_the_reference() -> None:
    signal = spoken("burst", [burst()])
    called = telephoned(signal)
    assert called.name == "burst, telephone"
    assert called.samples.shape == signal.samples.shape
    assert called.speech is signal.speech
    spectrum = np.abs(np.fft.rfft(called.samples))
    half = spectrum.size // 2
    assert np.square(spectrum[round(half * 1.1) :]).sum() < 0.01 * np.square(spectrum[:half]).sum()


def test_what_is_no_speech_is_never_called_so_by_the_reference() -> None:
    for signal in not_speech():
        assert signal.samples.size == round(vad_signals.NOT_SPEECH_S * 16_000)
        assert not signal.speech.any()
        assert signal.silence.all()
        assert np.abs(signal.samples).max() <= 1


def test_a_perfect_detector_misses_and_invents_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "make_vad", LoudnessVad)
    row = vad.measure("loudness", SETTINGS, spoken("bursts", [burst(), burst()]))
    assert row.frames_missed == pytest.approx(0.0, abs=0.05)
    assert (row.frames_invented, row.speech_outside_segments) == (0.0, 0.0)
    assert (row.segments, row.clips, row.clips_in_one_segment) == (2, 2, 2)
    assert row.audio_s == 9.0


def test_a_deaf_detector_misses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = SETTINGS.model_copy(update={"threshold": 1.5})
    monkeypatch.setattr(vad, "make_vad", LoudnessVad)
    row = vad.measure("deaf", deaf, spoken("burst", [burst()]))
    assert (row.frames_missed, row.speech_outside_segments) == (1.0, 1.0)
    assert (row.segments, row.clips_in_one_segment) == (0, 0)


def test_clips_that_share_a_segment_do_not_count_as_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always(LoudnessVad):
        def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.ones_like(super().push(samples))

    monkeypatch.setattr(vad, "make_vad", Always)
    row = vad.measure("always", SETTINGS, spoken("bursts", [burst(), burst()]))
    assert (row.segments, row.clips, row.clips_in_one_segment) == (1, 2, 0)
    assert row.frames_invented == 1.0


def test_the_console_prints_what_every_benchmark_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "not_speech", list[Signal])
    done = CliRunner().invoke(vad.main, ["--clips", str(DATA / "crema_d"), "--json"])
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert shown.keys() == {"benchmark", "version", "commit", "machine", "settings", "results"}
    assert {(row["detector"], row["signal"]) for row in shown["results"]} == {
        (detector, signal) for detector in vad.DETECTORS for signal in ("crema_d", "crema_d, telephone")
    }
    assert str(DATA) not in done.stdout


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(vad.main, ["--clips", str(tmp_path)])
    assert done.exit_code == 1
    assert f"Error: {tmp_path} holds no FLAC or WAV file" in done.output


def test_the_kept_figures_bear_out_the_default_detector() -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {(row["signal"], row["detector"]): row for row in kept["results"]}
    chosen = VadSettings()
    assert (kept["settings"]["silero"]["kind"], kept["settings"]["silero"]["threshold"]) == (
        chosen.kind,
        chosen.threshold,
    )
    nobody_speaks = [row for row in rows.values() if row["detector"] == "silero" and row["clips"] == 0]
    assert len(nobody_speaks) == len(not_speech())
    assert all(row["segments"] == 0 and row["frames_invented"] < 0.001 for row in nobody_speaks)
    telephone = "librispeech, telephone"
    assert all(
        rows[telephone, "silero"]["frames_missed"] < rows[telephone, detector]["frames_missed"]
        for detector in vad.DETECTORS
        if detector != "silero"
    )
