"""Whisper's encoder as ONNX nodes says what transformers says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import AutoFeatureExtractor

from models.backbones.speech import SpeechEncoder
from models.errors import WeightsError
from models.graphs.graph import Graph
from models.graphs.whisper import WhisperGraph, emit_whisper_encoder
from models.windows import SAMPLE_RATE_HZ, WindowPolicy
from tests.fakes.checkpoints import DIM, LAYERS, MEL_BANDS, stirred, tiny_checkpoint

WINDOW_S = 3.0
SAMPLES = (16_000, 1, 321, 9_123, 27_001)

Clip = NDArray[np.float32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stirred(tiny_checkpoint("whisper", tmp_path_factory.mktemp("whisper")))


def clips() -> list[Clip]:
    chance = np.random.default_rng(0)
    return [chance.normal(scale=0.02 * (1 + row), size=n).astype(np.float32) for row, n in enumerate(SAMPLES)]


def mel(folder: Path, segments: Sequence[Clip], window_s: float = WINDOW_S) -> NDArray[np.float32]:
    prepared = AutoFeatureExtractor.from_pretrained(folder)(
        segments,
        sampling_rate=SAMPLE_RATE_HZ,
        padding="max_length",
        max_length=round(window_s * SAMPLE_RATE_HZ),
        truncation=False,
        return_tensors="np",
    )["input_features"]
    return np.asarray(prepared, dtype=np.float32)


def encoded(
    whisper: WhisperGraph, spectrogram: NDArray[np.float32], samples: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    graph = Graph("whisper")
    bands = graph.input("mel", np.float32, ("batch", whisper.mel_bands, "time"))
    lengths = graph.input("samples", np.int64, ("batch",))
    features, frames = emit_whisper_encoder(graph, whisper, bands, lengths)
    graph.output("features", features, np.float32, ("batch", "frames", whisper.dim))
    graph.output("lengths", frames, np.int64, ("batch",))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.serialise(), options, providers=["CPUExecutionProvider"])
    found, own = session.run(None, {"mel": spectrogram, "samples": np.array(samples)})
    return np.asarray(found), np.asarray(own)


@pytest.mark.parametrize(("layers", "stacked"), [(1, False), (4, False), (3, True)])
@pytest.mark.parametrize("window_s", [WINDOW_S, 8.0])
def test_it_says_what_transformers_says_in_any_window(
    folder: Path, layers: int, stacked: bool, window_s: float
) -> None:
    whisper = WhisperGraph.read(folder, layers=layers, stacked=stacked)
    windows = WindowPolicy((window_s,), 0.0)
    theirs = SpeechEncoder(folder, "whisper", layers=layers, stacked=stacked, device="cpu", windows=windows)
    expected = theirs.encode(clips())
    found, frames = encoded(whisper, mel(folder, clips(), window_s), SAMPLES)
    assert found.shape == (len(SAMPLES), window_s * 50, DIM * (layers if stacked else 1))
    assert frames.tolist() == [len(own) for own in expected] == [50, 1, 2, 29, 85]
    for row, own in enumerate(expected):
        assert own.std() > 0.1
        np.testing.assert_allclose(found[row, : len(own)], own, atol=1e-4, rtol=0)


def test_a_clip_says_the_same_alone_and_in_any_batch_of_its_window(folder: Path) -> None:
    whisper = WhisperGraph.read(folder)
    together, _ = encoded(whisper, mel(folder, clips()), SAMPLES)
    for row, clip in enumerate(clips()):
        alone, _ = encoded(whisper, mel(folder, [clip]), [clip.size])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4, rtol=0)


def test_the_last_of_an_odd_number_of_mel_frames_is_not_heard(folder: Path) -> None:
    whisper, spectrogram = WhisperGraph.read(folder), mel(folder, clips())
    odd, _ = encoded(whisper, spectrogram[..., :-1], SAMPLES)
    even, _ = encoded(whisper, spectrogram[..., :-2], SAMPLES)
    np.testing.assert_array_equal(odd, even)


def test_nobody_speaking_gives_no_frame(folder: Path) -> None:
    found, frames = encoded(WhisperGraph.read(folder), mel(folder, [np.zeros(1, np.float32)]), [0])
    assert frames.tolist() == [0]
    assert np.isfinite(found).all()


def test_a_checkpoint_of_the_encoder_alone_and_in_half_precision_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    half = {name.removeprefix("model."): array.astype(np.float16) for name, array in tensors.items()}
    save_file(
        {name: array for name, array in half.items() if name.startswith("encoder.")}, tmp_path / "model.safetensors"
    )
    rounded = {name: array.astype(np.float16).astype(np.float32) for name, array in tensors.items()}
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "config.json").write_text((folder / "config.json").read_text())
    save_file(rounded, whole / "model.safetensors")
    spectrogram = mel(folder, clips())
    found, _ = encoded(WhisperGraph.read(tmp_path), spectrogram, SAMPLES)
    expected, _ = encoded(WhisperGraph.read(whole), spectrogram, SAMPLES)
    np.testing.assert_array_equal(found, expected)


def test_what_it_is_made_for_can_be_asked(folder: Path) -> None:
    whisper = WhisperGraph.read(folder)
    assert (whisper.mel_bands, whisper.longest_frames, whisper.dim) == (MEL_BANDS, 1500, DIM)
    assert not any(name.startswith(("model.", "decoder.")) for name in whisper.weights.tensors)
    tensors = whisper.weights.tensors
    looked_up = tensors["encoder.embed_positions.weight"].size
    twice = tensors["encoder.conv1.weight"].size + tensors["encoder.conv1.bias"].size
    assert whisper.weights_a_frame == sum(array.size for array in tensors.values()) - looked_up + twice


def test_what_it_cannot_write_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has {LAYERS} hidden layers, 6 are to be read"):
        WhisperGraph.read(folder, layers=6)
    with pytest.raises(WeightsError, match="no encoder in"):
        WhisperGraph.read(tmp_path)
    with pytest.raises(WeightsError, match=r"model_type.*only Whisper is written"):
        WhisperGraph.read(tiny_checkpoint("hubert", tmp_path / "hubert"))
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "activation_function": "relu"}))
    with pytest.raises(WeightsError, match="activation_function"):
        WhisperGraph.read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_attention_heads": 3}))
    with pytest.raises(WeightsError, match="d_model 16 does not part into 3 heads"):
        WhisperGraph.read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.encoder.layers.2.fc1.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"tensor encoder\.layers\.2\.fc1\.bias is missing"):
        encoded(WhisperGraph.read(tmp_path), mel(folder, clips()), SAMPLES)
