"""The encoder on the pretrained weights: it says what CTranslate2 says, and refuses what it cannot read."""

from __future__ import annotations

import struct
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.backbones.log_mel import LogMel
from models.backbones.whisper import WhisperEncoder
from models.backbones.whisper_file import read_whisper_file
from models.errors import FeatureError, WeightsError
from models.weights import weights_folder

WINDOW_S = 4.0
MIDDLE = 3


@pytest.fixture(scope="module")
def folder() -> Path:
    return weights_folder("whisper-base")


@pytest.fixture(scope="module")
def exact(folder: Path) -> WhisperEncoder:
    return WhisperEncoder(folder, layers=(MIDDLE, None), compute_type="float32", threads=1)


@pytest.fixture(scope="module")
def integers(folder: Path) -> WhisperEncoder:
    return WhisperEncoder(folder, layers=(MIDDLE,), threads=1)


def voice(seconds: float, pitch_hz: float = 140.0) -> NDArray[np.float32]:
    """Harmonics that glide, as a vowel's do."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * pitch_hz * (time + 0.1 * np.sin(2 * np.pi * 2 * time))
    return np.asarray(sum(np.sin(k * phase) / k for k in range(1, 9)) * 0.1, dtype=np.float32)


def strayed(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_last_layer_is_what_ctranslate2_says(folder: Path, exact: WhisperEncoder) -> None:
    theirs = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32", intra_threads=1)
    mel = LogMel(80).of(voice(3.0), WINDOW_S)[None]

    expected = np.asarray(theirs.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True))

    encoded = exact.encode([voice(3.0)], WINDOW_S)
    assert encoded.states.shape == (1, 200, 512)
    np.testing.assert_allclose(encoded.states, expected, atol=2e-3, rtol=0)
    np.testing.assert_array_equal(encoded.frames[None][0], encoded.states[0, :150])


def test_integers_stray_as_little_as_ctranslate2s_do(
    folder: Path, exact: WhisperEncoder, integers: WhisperEncoder
) -> None:
    theirs = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=1)
    mel = LogMel(80).of(voice(3.0), WINDOW_S)[None]
    rounded = np.asarray(theirs.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True))

    expected, found = (encoder.encode([voice(3.0)], WINDOW_S) for encoder in (exact, integers))

    assert 0 < strayed(found.states, expected.states) < max(0.15, 2 * strayed(rounded, expected.states))
    assert 0 < strayed(found.frames[MIDDLE][0], expected.frames[MIDDLE][0]) < 0.1


def test_a_layer_is_the_same_whether_or_not_words_are_wanted(folder: Path, integers: WhisperEncoder) -> None:
    features_only = WhisperEncoder(folder, layers=(MIDDLE,), decodes=False, threads=1)

    alone = features_only.encode([voice(2.0)], WINDOW_S)

    np.testing.assert_allclose(
        alone.frames[MIDDLE][0], integers.encode([voice(2.0)], WINDOW_S).frames[MIDDLE][0], atol=1e-4, rtol=0
    )
    assert alone.states.size == 0


def test_a_segment_says_the_same_in_any_company(integers: WhisperEncoder) -> None:
    clips = [voice(3.0), voice(0.5, 300.0), voice(2.0, 90.0)]

    together = integers.encode(clips, WINDOW_S)

    assert [len(own) for own in together.frames[MIDDLE]] == [150, 25, 100]
    for row, clip in enumerate(clips):
        alone = integers.encode([clip], WINDOW_S)
        np.testing.assert_array_equal(alone.frames[MIDDLE][0], together.frames[MIDDLE][row])
        np.testing.assert_array_equal(alone.states[0], together.states[row])


def test_features_do_not_depend_on_the_number_of_threads(folder: Path, integers: WhisperEncoder) -> None:
    two = WhisperEncoder(folder, layers=(MIDDLE,), threads=2)
    one, other = (encoder.encode([voice(3.0)], WINDOW_S).frames[MIDDLE][0] for encoder in (integers, two))
    assert strayed(other, one) < 1e-3


@pytest.mark.parametrize(
    ("layers", "said"),
    [((0,), "has 1 to 6"), ((7,), "has 1 to 6"), ((6,), "layer 6 is the last"), ((), "has 1 to 6")],
)
def test_a_layer_that_is_not_there_is_refused(folder: Path, layers: tuple[int, ...], said: str) -> None:
    with pytest.raises(FeatureError, match=said):
        WhisperEncoder(folder, layers=layers, decodes=False)


def test_the_file_says_how_the_encoder_is_built(folder: Path) -> None:
    whisper = read_whisper_file(folder)
    shape = whisper.shape
    assert (shape.d_model, shape.encoder_attention_heads, shape.encoder_layers) == (512, 8, 6)
    assert (whisper.mel_bands, whisper.longest_frames) == (80, 1500)


def head(version: int = 6, specification: bytes = b"WhisperSpec", variables: int = 1) -> bytes:
    name = specification + b"\0"
    return struct.pack("<IH", version, len(name)) + name + struct.pack("<II", 3, variables)


def variable(name: bytes, shape: tuple[int, ...], kind: int, content: bytes) -> bytes:
    full = b"encoder/" + name + b"\0"
    written = struct.pack("<H", len(full)) + full + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return written + struct.pack("<BI", kind, len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x06\0",
        head(version=5),
        head(specification=b"TransformerSpec"),
        head(),
        head(variables=0),
        head() + variable(b"num_heads", (), 2, b"\x08\0"),
        head() + variable(b"num_heads", (3,), 2, b"\x08\0"),
        head() + variable(b"num_heads", (), 77, b"\x08\0"),
    ],
)
def test_a_file_that_is_no_whisper_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=r"no Whisper encoder can be read from .*model\.bin"):
        read_whisper_file(tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Whisper encoder can be read from .*model\.bin"):
        WhisperEncoder(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
def test_a_file_that_is_cut_short_is_refused(folder: Path, tmp_path: Path, share: float) -> None:
    content = (folder / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(content[: round(len(content) * share)])
    with pytest.raises(WeightsError, match=r"no Whisper encoder can be read from .*model\.bin"):
        read_whisper_file(tmp_path)
