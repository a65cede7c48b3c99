"""Waveform encoders as ONNX nodes say what transformers says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from models.backbones.speech import SpeechEncoder
from models.errors import WeightsError
from models.graphs.graph import Graph
from models.graphs.speech import SpeechGraph, emit_speech_encoder
from models.graphs.speech_wavlm import distance_buckets
from tests.fakes.checkpoints import DIM, LAYERS, as_older_format, as_older_names, stirred, tiny_checkpoint

ARCHITECTURES = ("wavlm", "hubert", "wav2vec2")
RATE_HZ = 16_000
SAMPLES = (16_000, 400, 719, 9_123, 27_001)
"""Of clips in one batch: 400 give a single frame, 719 nearly a second one."""

Clip = NDArray[np.float32]
Encode = Callable[[Sequence[Clip]], list[NDArray[np.float32]]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speech")
    return {kind: stirred(tiny_checkpoint(kind, root / kind, conv_bias=True)) for kind in ARCHITECTURES}


def clips(lengths: Sequence[int] = SAMPLES) -> list[Clip]:
    """Of different loudness, none around zero."""
    chance = np.random.default_rng(0)
    return [chance.normal(0.05, 0.02 * (1 + row), size=n).astype(np.float32) for row, n in enumerate(lengths)]


def encoder(speech: SpeechGraph) -> Encode:
    """Writes the graph once, and runs it with noise where there is padding."""
    graph = Graph("speech")
    waveform = graph.input("waveform", np.float32, ("batch", "time"))
    samples = graph.input("samples", np.int64, ("batch",))
    features, frames = emit_speech_encoder(graph, speech, waveform, samples)
    graph.output("features", features, np.float32, ("batch", "frames", speech.dim))
    graph.output("lengths", frames, np.int64, ("batch",))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.serialise(), options, providers=["CPUExecutionProvider"])

    def encode(segments: Sequence[Clip]) -> list[NDArray[np.float32]]:
        lengths = np.array([segment.size for segment in segments])
        padded = np.random.default_rng(1).normal(size=(len(segments), lengths.max())).astype(np.float32)
        for row, segment in enumerate(segments):
            padded[row, : segment.size] = segment
        found, own = session.run(None, {"waveform": padded, "samples": lengths})
        assert np.isfinite(found).all()
        assert (own >= 0).all()
        return [row[:count] for row, count in zip(found, own, strict=True)]

    return encode


def assert_same(found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> None:
    for own, theirs in zip(found, expected, strict=True):
        assert own.shape == theirs.shape
        np.testing.assert_allclose(own, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_says_what_transformers_says_of_clips_of_any_length(folders: dict[str, Path], architecture: str) -> None:
    found = encoder(SpeechGraph.read(folders[architecture], layers=4))(clips())
    expected = SpeechEncoder(folders[architecture], architecture, layers=4, device="cpu").encode(clips())
    assert [len(row) for row in found] == [49, 1, 1, 28, 84]
    assert min(row.std() for row in expected) > 0.1
    assert_same(found, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_clip_says_the_same_alone_and_in_any_batch(folders: dict[str, Path], architecture: str) -> None:
    encode = encoder(SpeechGraph.read(folders[architecture], layers=4))
    assert_same(encode(clips()), [encode([clip])[0] for clip in clips()])


@pytest.mark.parametrize(("layers", "stacked"), [(1, False), (LAYERS, False), (3, True), (1, True)])
def test_it_reads_the_layers_that_transformers_reads(folders: dict[str, Path], layers: int, stacked: bool) -> None:
    speech = SpeechGraph.read(folders["wavlm"], layers=layers, stacked=stacked)
    theirs = SpeechEncoder(folders["wavlm"], "wavlm", layers=layers, stacked=stacked, device="cpu")
    found = encoder(speech)(clips())
    assert found[0].shape[1] == speech.dim == DIM * (layers if stacked else 1)
    assert_same(found, theirs.encode(clips()))


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        # Distances reach far beyond the last bucket, and an edge lies on a whole number.
        ("wavlm", {"num_buckets": 32, "max_bucket_distance": 128}),
        ("wavlm", {"num_attention_heads": 4, "num_buckets": 8, "max_bucket_distance": 20}),
        ("hubert", {"num_conv_pos_embeddings": 15, "layer_norm_eps": 1e-3}),
        ("hubert", {"conv_bias": False, "conv_dim": [8, 12, 16], "conv_kernel": [10, 8, 4], "conv_stride": [5, 8, 8]}),
    ],
)
def test_checkpoints_may_be_shaped_otherwise(tmp_path: Path, architecture: str, changes: dict[str, object]) -> None:
    folder = stirred(tiny_checkpoint(architecture, tmp_path, **changes))
    # The longest is far longer than WavLM's farthest bucket.
    spoken = clips((3 * RATE_HZ, 9_000))
    expected = SpeechEncoder(folder, architecture, layers=4, device="cpu").encode(spoken)
    assert_same(encoder(SpeechGraph.read(folder, layers=4))(spoken), expected)


@pytest.mark.parametrize(("buckets", "furthest"), [(320, 800), (32, 128), (8, 20)])
def test_distances_fall_into_the_buckets_that_wavlm_was_trained_with(buckets: int, furthest: int) -> None:
    attention = WavLMAttention(DIM, 2, num_buckets=buckets, max_distance=furthest)
    distances = torch.arange(-furthest, furthest + 1)
    expected = attention._relative_positions_bucket(distances)
    np.testing.assert_array_equal(distance_buckets(buckets, furthest), expected.numpy())
    beyond = attention._relative_positions_bucket(torch.tensor([-10 * furthest, 10 * furthest]))
    np.testing.assert_array_equal(distance_buckets(buckets, furthest)[[0, -1]], beyond.numpy())


def test_a_row_without_a_whole_frame_has_none_and_disturbs_nobody(folders: dict[str, Path]) -> None:
    encode = encoder(SpeechGraph.read(folders["wavlm"], layers=4))
    spoken, nothing, short = clips((9_000, 0, 399))
    found = encode([nothing, spoken, short])
    assert [len(row) for row in found] == [0, 27, 0]
    assert_same([found[1]], encode([spoken]))
    assert [len(row) for row in encode([nothing, short])] == [0, 0]


def test_no_clip_has_fewer_than_no_frames_however_far_kernels_reach(tmp_path: Path) -> None:
    reaching = {"conv_dim": [DIM] * 2, "conv_kernel": [10, 12], "conv_stride": [5, 1]}
    encode = encoder(SpeechGraph.read(tiny_checkpoint("hubert", tmp_path, **reaching), layers=4))
    assert [len(row) for row in encode(clips((0, 9, 64, 65, 400)))] == [0, 0, 0, 1, 68]


def test_silence_stays_finite(folders: dict[str, Path]) -> None:
    silence = [np.zeros(4_000, dtype=np.float32)]
    expected = SpeechEncoder(folders["hubert"], "hubert", layers=4, device="cpu").encode(silence)
    assert_same(encoder(SpeechGraph.read(folders["hubert"], layers=4))(silence), expected)


def test_gain_is_kept_where_the_preprocessor_keeps_it(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = stirred(tiny_checkpoint("hubert", tmp_path, conv_bias=True))
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": False}))
    found = encoder(SpeechGraph.read(folder, layers=4))(clips())
    assert_same(found, SpeechEncoder(folder, "hubert", layers=4, device="cpu").encode(clips()))
    assert np.abs(found[0] - encoder(SpeechGraph.read(folders["hubert"], layers=4))(clips())[0]).max() > 1e-2


def test_weight_norm_may_have_its_older_names(folders: dict[str, Path], tmp_path: Path) -> None:
    older = as_older_names(stirred(tiny_checkpoint("wavlm", tmp_path, conv_bias=True)))
    assert "encoder.pos_conv_embed.conv.weight_g" in load_file(older / "model.safetensors")
    spoken = clips()
    assert_same(
        encoder(SpeechGraph.read(older, layers=4))(spoken),
        encoder(SpeechGraph.read(folders["wavlm"], layers=4))(spoken),
    )


def test_weights_in_half_precision_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = stirred(tiny_checkpoint("hubert", tmp_path, conv_bias=True))
    half = {name: array.astype(np.float16) for name, array in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    found = encoder(SpeechGraph.read(folder, layers=4))(clips())
    assert_same(found, SpeechEncoder(folder, "hubert", layers=4, device="cpu").encode(clips()))


def test_what_a_frame_costs_counts_the_front_end_as_often_as_it_runs(folders: dict[str, Path]) -> None:
    speech = SpeechGraph.read(folders["hubert"], layers=4)
    sizes = {name: array.size for name, array in load_file(folders["hubert"] / "model.safetensors").items()}
    # The first convolution gives 64 outputs for a frame, the last one.
    first, last = (
        sum(size for name, size in sizes.items() if name.startswith(f"feature_extractor.conv_layers.{layer}."))
        for layer in (0, 6)
    )
    rest = sum(size for name, size in sizes.items() if name.startswith(("encoder.", "feature_projection.")))
    assert speech.weights_a_frame > rest + 64 * first + last
    assert speech.weights_a_frame < rest + 64 * (sum(sizes.values()) - rest)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"feat_extract_norm": "group"}, r"feat_extract_norm.*written are WavLM, HuBERT and wav2vec 2\.0"),
            ({"feat_extract_norm": None}, "feat_extract_norm"),
            ({"do_stable_layer_norm": False}, "do_stable_layer_norm.*ahead of attention"),
            ({"hidden_act": "relu"}, "hidden_act"),
            ({"feat_extract_activation": "relu"}, "feat_extract_activation"),
            ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
            ({"adapter_attn_dim": 8}, "adapter_attn_dim"),
            ({"model_type": "unispeech"}, "model_type"),
            ({"num_attention_heads": 3}, "hidden_size 16 does not part into 3 heads"),
            ({"conv_stride": [5, 2]}, "must be of one length"),
            ({"num_buckets": 400, "max_bucket_distance": 100}, "max_bucket_distance 100 is too near for 400 buckets"),
        ],
    )
    def test_layouts_that_are_not_written(
        self, folders: dict[str, Path], tmp_path: Path, changes: dict[str, object], message: str
    ) -> None:
        config = {**json.loads((folders["wavlm"] / "config.json").read_text()), **changes}
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        with pytest.raises(WeightsError, match=message):
            SpeechGraph.read(tmp_path, layers=4)

    def test_more_layers_than_there_are(self, folders: dict[str, Path]) -> None:
        with pytest.raises(WeightsError, match=f"has {LAYERS} hidden layers, 9 are to be read"):
            SpeechGraph.read(folders["wavlm"], layers=9)

    @pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
    def test_a_folder_that_lacks_a_file(self, tmp_path: Path, name: str) -> None:
        folder = tiny_checkpoint("hubert", tmp_path)
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=str(folder)):
            SpeechGraph.read(folder, layers=4)

    def test_weights_that_only_pytorch_reads(self, tmp_path: Path) -> None:
        folder = as_older_format(tiny_checkpoint("wavlm", tmp_path))
        with pytest.raises(WeightsError, match=r"as pytorch_model\.bin, which only PyTorch reads.*save_pretrained"):
            SpeechGraph.read(folder, layers=4)

    def test_a_damaged_file_of_weights(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("wavlm", tmp_path)
        (folder / "model.safetensors").write_bytes(b"no weights at all")
        with pytest.raises(WeightsError, match=r"no usable model\.safetensors"):
            SpeechGraph.read(folder, layers=4)

    def test_a_preprocessor_for_another_rate(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("hubert", tmp_path)
        path = folder / "preprocessor_config.json"
        path.write_text(path.read_text().replace("16000", "8000"))
        with pytest.raises(WeightsError, match="made for audio at 8000 Hz"):
            SpeechGraph.read(folder, layers=4)

    @pytest.mark.parametrize(
        "lacking",
        [
            "encoder.layers.1.attention.gru_rel_pos_const",
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "feature_extractor.conv_layers.3.layer_norm.bias",
        ],
    )
    def test_a_checkpoint_that_lacks_a_tensor(self, tmp_path: Path, lacking: str) -> None:
        folder = tiny_checkpoint("wavlm", tmp_path)
        tensors = load_file(folder / "model.safetensors")
        del tensors[lacking]
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(WeightsError, match=f"tensor {lacking} is missing"):
            encoder(SpeechGraph.read(folder, layers=4))


def test_writing_an_encoder_takes_neither_pytorch_nor_transformers() -> None:
    said = (
        "import sys, models.graphs.speech, models.graphs.whisper; print({'torch', 'transformers'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
