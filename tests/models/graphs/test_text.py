"""The text encoder as ONNX nodes says what transformers says, whichever architecture it is of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch_file
from safetensors.torch import save_file as save_torch_file

from models.admission import admit, agreement, check_inputs
from models.backbones.text import TextEncoder
from models.backbones.text_source import WRITTEN, TextSource, text_sources
from models.backbones.tokens import MAX_TOKENS, Tokens
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, write_graph
from models.engines.onnx import OnnxEngine
from models.errors import EngineError, FeatureError, WeightsError
from models.graphs.ensemble import ensemble_graph
from models.graphs.products import PLAIN, RowIntegers
from models.graphs.text import ARCHITECTURES, TextGraph
from models.modalities import TokenBatch, pad, pad_tokens
from models.reference import Reference
from tests.fakes.bundles import tiny_bundle
from tests.fakes.checkpoints import DIM, LAYERS, SPECIAL_TOKENS, tiny_checkpoint
from tests.fakes.text_graphs import encoded, lively_checkpoint

TEXTS = ("no", "what a long thing to say to anybody", "", "well", "a" * 500)


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lively_checkpoint(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("layers", "stacked"), [(4, False), (1, False), (LAYERS, False), (2, True), (1, True)])
def test_it_reads_the_layers_that_transformers_reads(folder: Path, layers: int, stacked: bool) -> None:
    found = encoded(TextGraph.read(folder, layers=layers, stacked=stacked), pad_tokens(Tokens(folder).encode(TEXTS)))
    expected = TextEncoder(folder, layers=layers, stacked=stacked).encode(TEXTS)
    for row, own in enumerate(expected):
        np.testing.assert_allclose(found[row, : len(own)], own, rtol=1e-5, atol=5e-5)
    assert np.isfinite(found).all()
    assert len(expected[-1]) == MAX_TOKENS - 2


def test_a_text_says_the_same_alone_and_in_any_batch(folder: Path) -> None:
    text = TextGraph.read(folder, layers=4)
    tokens = Tokens(folder).encode(TEXTS)
    together = encoded(text, pad_tokens(tokens))
    for row, own in enumerate(tokens):
        alone = encoded(text, pad_tokens([own]))[0, : own.size - 2]
        np.testing.assert_allclose(together[row, : own.size - 2], alone, rtol=1e-5, atol=5e-5)


def test_in_integers_it_says_nearly_the_same_and_alone_what_it_says_in_any_batch(folder: Path) -> None:
    text = replace(TextGraph.read(folder, layers=4), products=RowIntegers())
    tokens = Tokens(folder).encode(TEXTS)
    together, exact = encoded(text, pad_tokens(tokens)), encoded(replace(text, products=PLAIN), pad_tokens(tokens))
    for row, own in enumerate(tokens):
        real = slice(own.size - 2)
        if not real.stop:
            continue
        alone = encoded(text, pad_tokens([own]))[0, real]
        np.testing.assert_allclose(together[row, real], alone, rtol=1e-5, atol=5e-5)
        strayed = np.linalg.norm(together[row, real] - exact[row, real]) / np.linalg.norm(exact[row, real])
        assert 0 < strayed < 0.1


def test_what_stands_in_the_padding_does_not_matter(folder: Path) -> None:
    text = TextGraph.read(folder, layers=4)
    tokens = Tokens(folder).encode(TEXTS)
    clean = pad_tokens(tokens)
    dirty = np.random.default_rng(0).integers(0, 200, clean.tokens.shape)
    for row, own in enumerate(tokens):
        dirty[row, : own.size] = own
    found, expected = encoded(text, TokenBatch(dirty, clean.lengths)), encoded(text, clean)
    for row, length in enumerate(clean.lengths):
        np.testing.assert_array_equal(found[row, :length], expected[row, :length])


def test_a_checkpoint_of_a_whole_task_names_its_encoder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    prefix = ARCHITECTURES[json.loads((folder / "config.json").read_text())["model_type"]].task_prefix
    tensors = {name.removeprefix(prefix): array for name, array in load_file(folder / "model.safetensors").items()}
    batch = pad_tokens(Tokens(folder).encode(["well"]))
    expected = encoded(TextGraph.read(folder, layers=4), batch)
    for named in (tensors, {prefix + name: array for name, array in tensors.items()}):
        save_file(named, tmp_path / "model.safetensors")
        np.testing.assert_array_equal(encoded(TextGraph.read(tmp_path, layers=4), batch), expected)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_computed_with_in_single(
    folder: Path, precision: torch.dtype, tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    tensors = {name: tensor.to(precision) for name, tensor in load_torch_file(folder / "model.safetensors").items()}
    save_torch_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = encoded(TextGraph.read(tmp_path, layers=4), pad_tokens(Tokens(tmp_path).encode(["well"])))
    np.testing.assert_allclose(found[0], TextEncoder(tmp_path).encode(["well"])[0], rtol=1e-5, atol=5e-5)


def test_weights_that_each_token_is_multiplied_with_are_counted_without_tables(folder: Path) -> None:
    text = TextGraph.read(folder, layers=4)
    others = ("embeddings.", "final_norm.")
    assert text.weights_a_token == sum(
        array.size for name, array in text.weights.tensors.items() if not name.startswith(others)
    )
    assert text.weights_a_token > DIM * DIM * 4 * LAYERS


def test_a_source_knows_what_can_be_written() -> None:
    assert ARCHITECTURES.keys() == WRITTEN


def test_what_can_be_written_stands_inside_whatever_runs_it(source: TextSource, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    pickled = replace(source, folder=tmp_path)
    for target in ("onnx", "tensorrt_rtx"):
        assert Order(bundle, target, text={"text": source}).inside == {"text": source}
        assert Order(bundle, target, text={"text": pickled}).inside == {}


def test_what_only_pytorch_reads_stays_outside(source: TextSource, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert replace(source, folder=tmp_path).bytes_inside() is None
    assert replace(source, architecture="hubert").bytes_inside() is None


def test_what_it_cannot_write_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_type: .* got 'hubert'; no other text encoder is written"):
        TextGraph.read(tiny_checkpoint("hubert", tmp_path / "hubert"), layers=4)
    with pytest.raises(WeightsError, match=f"has {LAYERS} hidden layers, 9 are to be read"):
        TextGraph.read(bert, layers=9)
    with pytest.raises(WeightsError, match="no encoder in"):
        TextGraph.read(tmp_path, layers=4)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="Input should be a valid dictionary"):
        TextGraph.read(tmp_path, layers=4)
    (tmp_path / "config.json").write_text((bert / "config.json").read_text())
    tensors = load_file(bert / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"tensor encoder\.layer\.1\.output\.dense\.bias is missing"):
        encoded(TextGraph.read(tmp_path, layers=4), pad_tokens([np.array([1, 2, 3])]))
    save_torch_file({"embeddings.any": torch.zeros(4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no usable model.safetensors in .*float8"):
        TextGraph.read(tmp_path, layers=4)


@pytest.mark.parametrize(
    ("architecture", "name", "setting", "said"),
    [
        ("bert", "hidden_act", "relu", "hidden_act: Input should be 'gelu', got 'relu'; no other bert is written"),
        ("roberta", "hidden_act", "gelu_new", "got 'gelu_new'; no other roberta is written"),
        ("roberta", "position_embedding_type", "relative_key", "position_embedding_type: .* got 'relative_key'"),
        ("bert", "is_decoder", True, "is_decoder: Input should be False, got True"),
        ("bert", "num_attention_heads", 3, "3 heads do not share 16 features evenly; no other bert"),
        ("modernbert", "hidden_activation", "silu", "hidden_activation: Input should be 'gelu', got 'silu'"),
        ("modernbert", "num_attention_heads", 16, "heads of 1 features cannot be rotated"),
        ("modernbert", "layer_types", ["full_attention"], "there are 5 layers and 1 layer types"),
        ("modernbert", "layer_types", ["chunked_attention"] * LAYERS, "layer_types: 0: .* got 'chunked_attention'"),
        ("modernbert", "rope_parameters", {"full_attention": {"rope_type": "yarn"}}, "rope_type: .* got 'yarn'"),
        ("modernbert", "rope_scaling", {"factor": 2.0}, "rope_scaling: Input should be None"),
        ("modernbert", "tie_last_hidden_states", False, "tie_last_hidden_states: Input should be True, got False"),
    ],
)
def test_a_setting_that_is_not_written_is_refused(
    architecture: str, name: str, setting: object, said: str, tmp_path: Path
) -> None:
    path = tiny_checkpoint(architecture, tmp_path) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: setting}))
    with pytest.raises(WeightsError, match=said):
        TextGraph.read(tmp_path, layers=4)


def test_an_encoder_of_another_width_does_not_fit_the_members(bert: Path, tmp_path: Path) -> None:
    ensemble = tiny_bundle(tmp_path / "tiny").ensemble()
    with pytest.raises(EngineError, match=f"gives {DIM} features a token, members read 384 of text"):
        ensemble_graph(ensemble, text={"text": TextGraph.read(bert, layers=4)})


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextSource:
    """Of the width that members of a tiny bundle read."""
    folder = tmp_path_factory.mktemp("wide")
    tiny_checkpoint(request.param, folder, hidden_size=384, num_attention_heads=4)
    return TextSource(folder, frozenset({"en"}), request.param, 4, False, {})


def test_an_engine_with_the_encoder_inside_reads_tokens_and_agrees_with_pytorch(
    source: TextSource, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    engine = OnnxEngine(write_graph(Order(bundle, text={"text": source})).serialise(), bundle.modalities)
    assert engine.reads_tokens == {"text"}
    # Random layers grow features that no trained encoder has: they are compared, not admitted.
    inputs = check_inputs(bundle.modalities, engine.reads_tokens)
    small = {
        n: TokenBatch(b.tokens % 100 + len(SPECIAL_TOKENS), b.lengths) if isinstance(b, TokenBatch) else b
        for n, b in inputs.items()
    }
    found = agreement(Reference(bundle, {"text": source}).run(small), engine.run(small))
    assert found.largest_difference < 1e-5
    assert found.label_agreement == 1
    alone = {"text": pad_tokens([np.array([1, 40, 41, 2])])}
    assert np.isfinite(engine.run(alone).probabilities).all()
    assert np.isfinite(engine.run({"acoustic": pad([np.ones((3, 512), np.float32)], 512)}).probabilities).all()


def test_features_and_tokens_are_not_mistaken_for_each_other(source: TextSource, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    inside = OnnxEngine(write_graph(Order(bundle, text={"text": source})).serialise(), bundle.modalities)
    with pytest.raises(FeatureError, match="text is read as tokens by this engine"):
        inside.run({"text": pad([np.ones((3, 384), np.float32)], 384)})
    outside = OnnxEngine(write_graph(Order(bundle)).serialise(), bundle.modalities)
    with pytest.raises(FeatureError, match="text is read as features by this engine"):
        outside.run({"text": pad_tokens([np.array([1, 40, 2])])})
    with pytest.raises(FeatureError, match="text holds a negative token"):
        inside.run({"text": pad_tokens([np.array([1, -4, 2])])})


@pytest.mark.weights
def test_the_shipped_bundle_reads_words_with_the_real_encoder_inside() -> None:
    bundle = load_bundle(shipped_bundle())
    text = text_sources(bundle)
    engine = OnnxEngine(write_graph(Order(bundle, text=text)).serialise(), bundle.modalities)
    assert engine.reads_tokens == {"text"}
    found = admit(engine, bundle, text)
    assert found.largest_difference < 1e-5
    assert found.clips == 200
