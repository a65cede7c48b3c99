from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.fakes.corpora import write_tone
from trainer.audio import probe_duration_s, read_clip
from trainer.errors import CorpusError


def peak_hz(samples: np.ndarray) -> float:
    return float(np.fft.rfftfreq(samples.size, 1 / 16_000)[np.abs(np.fft.rfft(samples)).argmax()])


def write_flac(path: Path, seconds: float) -> Path:
    """In several frames, so that cutting the file leaves whole ones."""
    samples = np.round(8000 * np.sin(np.arange(round(seconds * 16_000)) / 7)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        for start in range(0, samples.size, 4000):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4000], format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_414, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channel_count_becomes_16_khz_mono(tmp_path: Path, rate_hz: int, channels: int) -> None:
    samples = read_clip(write_tone(tmp_path / "a.wav", seconds=0.5, rate_hz=rate_hz, channels=channels, level=0.5))
    assert samples.dtype == np.float32
    assert samples.shape == (8000,)
    assert peak_hz(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[400:-400]).max() == pytest.approx(0.5, abs=0.01)


def test_flac_is_read_to_its_last_sample(tmp_path: Path) -> None:
    assert read_clip(write_flac(tmp_path / "a.flac", 1.0)).size == 16_000


def test_the_duration_is_known_without_decoding(tmp_path: Path) -> None:
    assert probe_duration_s(write_tone(tmp_path / "a.wav", seconds=0.25)) == pytest.approx(0.25)


@pytest.mark.parametrize("read", [read_clip, probe_duration_s])
class TestBadFiles:
    def test_a_missing_file(self, tmp_path: Path, read) -> None:
        with pytest.raises(CorpusError, match=r"a\.wav.*No such file"):
            read(tmp_path / "a.wav")

    def test_an_empty_file(self, tmp_path: Path, read) -> None:
        (tmp_path / "a.wav").touch()
        with pytest.raises(CorpusError, match=r"a\.wav"):
            read(tmp_path / "a.wav")

    @pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
    def test_text_under_an_audio_name(self, tmp_path: Path, read, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        path.write_text("this is no audio " * 40)
        with pytest.raises(CorpusError, match=rf"a\.{suffix}"):
            read(path)

    def test_a_truncated_wave_file(self, tmp_path: Path, read) -> None:
        path = write_tone(tmp_path / "a.wav", seconds=0.5)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(CorpusError, match="cut short, 5000 of 16044 bytes"):
            read(path)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_truncated_flac_file_is_refused_when_it_is_decoded(tmp_path: Path, share: float) -> None:
    path = write_flac(tmp_path / "a.flac", 2.0)
    path.write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])
    with pytest.raises(CorpusError, match=r"a\.flac"):
        read_clip(path)


def test_a_wave_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no samples"):
        read_clip(write_tone(tmp_path / "a.wav", seconds=0))
