"""Files and the microphone."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat, microphone, read_file
from streaming.errors import AudioFileError, AudioFormatError

CLIP = Path(__file__).parents[2] / "data" / "crema_d" / "1001_DFA_ANG_XX.wav"
PCM, FLOAT = 1, 3


def wav(samples: NDArray[Any], *, rate_hz: int = 16_000, code: int = PCM, promised_bytes: int | None = None) -> bytes:
    """A WAV file of `[samples, channels]`."""
    channels, width, data = samples.shape[1], samples.itemsize, samples.tobytes()
    layout = struct.pack(
        "<IHHIIHH", 16, code, channels, rate_hz, rate_hz * channels * width, channels * width, 8 * width
    )
    size = len(data) if promised_bytes is None else promised_bytes
    return (
        struct.pack("<4sI4s4s", b"RIFF", 36 + size, b"WAVE", b"fmt ")
        + layout
        + struct.pack("<4sI", b"data", size)
        + data
    )


def ramp(samples: int, channels: int) -> NDArray[np.int16]:
    """Each channel has a value of its own."""
    return np.tile(np.arange(1, channels + 1, dtype="<i2") * 500, (samples, 1))


def encoded(path: Path, codec: str, seconds: float = 1.0) -> Path:
    """A stereo tone, written by FFmpeg."""
    rate_hz = 48_000
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)
    frame = av.AudioFrame.from_ndarray(np.stack([tone, -tone]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate_hz
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = "stereo"
        for part in av.AudioResampler(format=stream.format.name, layout="stereo", rate=rate_hz).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def test_a_wav_keeps_its_samples_channels_and_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(ramp(1000, 2), rate_hz=22_050))
    audio = read_file(path)
    np.testing.assert_array_equal(audio.samples, ramp(1000, 2).T.astype(np.float32) / 32_768)
    assert (audio.rate_hz, audio.warning) == (22_050, None)
    assert audio.duration_s == pytest.approx(1000 / 22_050)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 9, 17, 32])
def test_any_number_of_channels_is_read(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(ramp(3000, channels)))
    np.testing.assert_array_equal(read_file(path).samples, ramp(3000, channels).T.astype(np.float32) / 32_768)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.m4a", "aac"), ("a.flac", "flac"), ("a.webm", "libopus")],
)
def test_any_container_and_codec_is_read(tmp_path: Path, name: str, codec: str) -> None:
    audio = read_file(encoded(tmp_path / name, codec))
    assert audio.rate_hz == 48_000
    assert audio.samples.shape[0] == 2
    assert audio.duration_s == pytest.approx(1.0, abs=0.05)
    middle = audio.samples[:, 12_000:36_000]
    assert np.sqrt(np.square(middle).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    np.testing.assert_allclose(middle[0], -middle[1], atol=0.02)


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video, sound = _video(container), container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(video.encode(_picture()))
        container.mux(video.encode(None))
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert read_file(path).duration_s == pytest.approx(4096 / 16_000, abs=0.1)


def test_a_truncated_wav_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path, whole = tmp_path / "cut.wav", CLIP.read_bytes()
    path.write_bytes(whole[:30_000])
    audio = read_file(path)
    expected = read_file(CLIP).samples[:, : audio.samples.shape[1]]
    np.testing.assert_array_equal(audio.samples, expected)
    assert audio.samples.shape[1] == (30_000 - 44) // 2
    assert audio.warning == f"is cut short: 30000 of {len(whole)} bytes are there"


@pytest.mark.parametrize(
    ("codec", "frame_bytes"),
    [("pcm_s16le", 4), ("pcm_s24le", 6), ("pcm_f32le", 8), ("pcm_u8", 2), ("pcm_mulaw", 2), ("pcm_alaw", 2)],
)
def test_a_wav_cut_within_a_sample_gives_every_whole_one_before(tmp_path: Path, codec: str, frame_bytes: int) -> None:
    path = encoded(tmp_path / "cut.wav", codec, seconds=0.2)
    whole, data = read_file(path).samples, path.read_bytes()
    assert whole.shape == (2, 9_600)
    for torn in range(1, frame_bytes):
        path.write_bytes(data[: len(data) - 100 * frame_bytes - torn])
        audio = read_file(path)
        np.testing.assert_array_equal(audio.samples, whole[:, : 9_600 - 101])
        assert audio.warning is not None
        assert audio.warning.startswith("is cut short")


@pytest.mark.parametrize("name", ["2026-11-21T07:00:44.wav", "a:b.wav", "concat:other.wav", "data:x.wav", "-x.wav"])
def test_a_name_that_looks_like_an_address_is_a_file_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.wav").write_bytes(wav(ramp(50, 1)))
    Path(name).write_bytes(wav(ramp(1000, 2)))
    assert read_file(Path(name)).samples.shape == (2, 1000)


@pytest.mark.parametrize("promised", [0x7FFF_FFFF - 36, 0xFFFF_FFFF - 36])
def test_a_wav_written_to_a_pipe_is_whole(tmp_path: Path, promised: int) -> None:
    path = tmp_path / "piped.wav"
    path.write_bytes(wav(ramp(1000, 1), promised_bytes=promised))
    assert read_file(path).warning is None


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.flac", "flac")])
def test_a_compressed_file_that_breaks_off_gives_what_is_before(tmp_path: Path, name: str, codec: str) -> None:
    path = encoded(tmp_path / name, codec, seconds=3.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_file(path).duration_s > 0.5


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp3", "libmp3lame", seconds=3.0)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(3).bytes(600)
    path.write_bytes(bytes(data))
    audio = read_file(path)
    assert audio.duration_s > 2.5
    assert audio.warning is not None
    assert "packets that cannot be decoded" in audio.warning


def test_samples_that_are_not_finite_become_silence_and_the_rest_is_clipped(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    path.write_bytes(wav(np.array([[0.5], [np.nan], [np.inf], [-7.0]], dtype="<f4"), code=FLOAT))
    audio = read_file(path)
    np.testing.assert_array_equal(audio.samples, [[0.5, 0, 0, -1]])
    assert audio.warning == "has 2 samples that are not finite and were taken for silence"


def _video(container: Any) -> Any:
    stream = container.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    return stream


def _picture() -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")


def _silent_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = _video(container)
        container.mux(stream.encode(_picture()))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty.wav", lambda path: path.write_bytes(b""), "is empty"),
        ("header.wav", lambda path: path.write_bytes(CLIP.read_bytes()[:44]), "holds no samples"),
        ("stub.wav", lambda path: path.write_bytes(CLIP.read_bytes()[:20]), "cannot be read as audio"),
        (
            "garbage.wav",
            lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)),
            "cannot be read as audio",
        ),
        (
            "garbage.mp3",
            lambda path: path.write_bytes(np.random.default_rng(1).bytes(50_000)),
            "cannot be read as audio",
        ),
        ("notes.txt", lambda path: path.write_text("hello\n" * 100), "holds no audio"),
        ("silent.mp4", _silent_video, "holds no audio"),
        ("folder", lambda path: path.mkdir(), "is a folder"),
        ("missing.wav", lambda path: None, "No such file"),
        ("slow.wav", lambda path: path.write_bytes(wav(ramp(500, 1), rate_hz=4_000)), "4000 Hz is outside"),
        ("fast.wav", lambda path: path.write_bytes(wav(ramp(500, 1), rate_hz=384_000)), "384000 Hz is outside"),
        ("wide.wav", lambda path: path.write_bytes(wav(ramp(500, 33))), "33 channels: there may be 1 to 32"),
    ],
)
def test_what_is_no_audio_is_refused_by_name(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioFileError, match=message) as refused:
        read_file(path)
    assert str(path) in str(refused.value)


def test_a_format_knows_its_bytes() -> None:
    assert AudioFormat(Encoding.PCM16, 48_000, 2).bytes_per_s == 192_000
    assert AudioFormat(Encoding.MULAW, 8_000, 1).bytes_per_s == 8_000


@pytest.mark.parametrize(
    ("rate_hz", "channels", "message"),
    [(7_999, 1, "7999 Hz"), (192_001, 1, "192001 Hz"), (16_000, 0, "0 channels"), (16_000, 33, "33 channels")],
)
def test_a_format_nobody_reads_is_refused(rate_hz: int, channels: int, message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        AudioFormat(Encoding.PCM16, rate_hz, channels)


class FakeInput:
    """Stands in for PortAudio: hands over three chunks as soon as it is opened."""

    opened: list[FakeInput] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, rate_hz: int, block: int, *, channels: int, dtype: str, callback: Callable[..., None]) -> None:
        self.asked = (rate_hz, block, channels, dtype)
        self.callback = callback
        self.running = False
        FakeInput.opened.append(self)

    def __enter__(self) -> None:
        self.running = True
        for chunk in (b"ab", b"cd", b"ef"):
            self.callback(chunk, 1, None, None)

    def __exit__(self, *error: object) -> None:
        self.running = False


@pytest.fixture
def fake_sounddevice(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    FakeInput.opened = []
    module = SimpleNamespace(RawInputStream=FakeInput, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


async def test_the_microphone_yields_20_ms_of_pcm16_at_a_time_until_it_is_closed(
    fake_sounddevice: SimpleNamespace,
) -> None:
    chunks = microphone(16_000)
    heard = [await anext(chunks) for _ in range(3)]
    (device,) = FakeInput.opened
    assert heard == [b"ab", b"cd", b"ef"]
    assert device.asked == (16_000, 320, 1, "int16")
    await chunks.aclose()
    assert not device.running


async def test_without_a_microphone_the_error_says_so(fake_sounddevice: SimpleNamespace) -> None:
    def none_there(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no default input device")

    fake_sounddevice.RawInputStream = none_there
    with pytest.raises(AudioFormatError, match="cannot be opened: no default input device"):
        await anext(microphone())


async def test_a_microphone_that_is_taken_is_told_of_as_well(
    fake_sounddevice: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(device: FakeInput) -> None:
        raise RuntimeError("device unavailable")

    monkeypatch.setattr(FakeInput, "__enter__", taken)
    with pytest.raises(AudioFormatError, match="cannot be opened: device unavailable"):
        await anext(microphone())


async def test_a_reader_that_falls_behind_loses_the_oldest_audio_and_the_log_says_so_once(
    fake_sounddevice: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = microphone()
    assert await anext(chunks) == b"ab"
    (device,) = FakeInput.opened
    for number in range(2100):
        device.callback(number.to_bytes(2, "little"), 1, None, None)
    await asyncio.sleep(0)  # lets the loop take what the device handed over
    assert await anext(chunks) == (100).to_bytes(2, "little")
    assert [record.message for record in caplog.records] == [
        "the microphone's audio is not taken in time: the oldest is being lost"
    ]
    await chunks.aclose()


@pytest.mark.parametrize("rate_hz", [0, 7_999, 192_001])
async def test_a_rate_nobody_reads_is_not_recorded(fake_sounddevice: SimpleNamespace, rate_hz: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{rate_hz} Hz is outside"):
        await anext(microphone(rate_hz))
    assert FakeInput.opened == []


async def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioFormatError, match=r"pip install 'medusa-live\[mic\]'"):
        await anext(microphone())
