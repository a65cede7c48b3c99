"""The text encoder as ONNX nodes says what transformers says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.admission import Reference, admit, agreement, check_inputs
from models.backbones.text import TextEncoder
from models.backbones.text_source import TextSource, text_sources
from models.backbones.tokens import MAX_TOKENS, Tokens
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, write_graph
from models.engines.onnx import OnnxEngine
from models.errors import EngineError, FeatureError, WeightsError
from models.fused_graph import ensemble_graph
from models.graph import Graph
from models.modalities import TokenBatch, pad, pad_tokens
from models.text_graph import TextGraph, emit_text_encoder
from tests.fakes.bundles import tiny_bundle
from tests.fakes.checkpoints import DIM, LAYERS, tiny_checkpoint

TEXTS = ("no", "what a long thing to say to anybody", "", "well", "a" * 500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"))


def encoded(text: TextGraph, batch: TokenBatch) -> NDArray[np.float32]:
    graph = Graph("text")
    tokens = graph.input("tokens", np.int64, ("batch", "time"))
    lengths = graph.input("lengths", np.int64, ("batch",))
    graph.output("features", emit_text_encoder(graph, text, tokens, lengths), np.float32, ("batch", "inner", text.dim))
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"tokens": batch.tokens, "lengths": batch.lengths})
    return np.asarray(features)


@pytest.mark.parametrize(("layers", "stacked"), [(4, False), (1, False), (LAYERS, False), (2, True), (1, True)])
def test_it_reads_the_layers_that_transformers_reads(folder: Path, layers: int, stacked: bool) -> None:
    found = encoded(TextGraph.read(folder, layers=layers, stacked=stacked), pad_tokens(Tokens(folder).encode(TEXTS)))
    expected = TextEncoder(folder, layers=layers, stacked=stacked).encode(TEXTS)
    for row, own in enumerate(expected):
        np.testing.assert_allclose(found[row, : len(own)], own, atol=1e-5)
    assert np.isfinite(found).all()
    assert len(expected[-1]) == MAX_TOKENS - 2


def test_a_text_says_the_same_alone_and_in_any_batch(folder: Path) -> None:
    text = TextGraph.read(folder, layers=4)
    tokens = Tokens(folder).encode(TEXTS)
    together = encoded(text, pad_tokens(tokens))
    for row, own in enumerate(tokens):
        alone = encoded(text, pad_tokens([own]))[0, : own.size - 2]
        np.testing.assert_allclose(together[row, : own.size - 2], alone, atol=1e-5)


def test_a_checkpoint_of_a_whole_task_names_its_encoder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    named = {f"bert.{name}": array for name, array in load_file(folder / "model.safetensors").items()}
    save_file(named, tmp_path / "model.safetensors")
    batch = pad_tokens(Tokens(folder).encode(["well"]))
    expected = encoded(TextGraph.read(folder, layers=4), batch)
    np.testing.assert_array_equal(encoded(TextGraph.read(tmp_path, layers=4), batch), expected)


def test_what_it_cannot_write_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="only BERT is written"):
        TextGraph.read(tiny_checkpoint("roberta", tmp_path / "roberta"), layers=4)
    with pytest.raises(WeightsError, match=f"has {LAYERS} hidden layers, 9 are to be read"):
        TextGraph.read(folder, layers=9)
    with pytest.raises(WeightsError, match="no encoder in"):
        TextGraph.read(tmp_path, layers=4)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"tensor encoder\.layer\.1\.output\.dense\.bias is missing"):
        encoded(TextGraph.read(tmp_path, layers=4), pad_tokens([np.array([1, 2, 3])]))
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(WeightsError, match="hidden_act"):
        TextGraph.read(tmp_path, layers=4)


def test_an_encoder_of_another_width_does_not_fit_the_members(folder: Path, tmp_path: Path) -> None:
    ensemble = tiny_bundle(tmp_path / "tiny").ensemble()
    with pytest.raises(EngineError, match=f"gives {DIM} features a token, members read 384 of text"):
        ensemble_graph(ensemble, text={"text": TextGraph.read(folder, layers=4)})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TextSource:
    """Of the width that members of a tiny bundle read."""
    folder = tiny_checkpoint("bert", tmp_path_factory.mktemp("wide"), hidden_size=384, num_attention_heads=4)
    return TextSource(folder, frozenset({"en"}), "bert", 4, False, {})


def test_an_engine_with_the_encoder_inside_reads_tokens_and_agrees_with_pytorch(
    source: TextSource, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    engine = OnnxEngine(write_graph(Order(bundle, text={"text": source})), bundle.modalities)
    assert engine.reads_tokens == {"text"}
    # Random layers grow features that no trained encoder has: they are compared, not admitted.
    inputs = check_inputs(bundle.modalities, engine.reads_tokens)
    small = {n: TokenBatch(b.tokens % 100, b.lengths) if isinstance(b, TokenBatch) else b for n, b in inputs.items()}
    found = agreement(Reference(bundle, {"text": source}).run(small), engine.run(small))
    assert found.largest_difference < 1e-5
    assert found.label_agreement == 1
    alone = {"text": pad_tokens([np.array([1, 40, 41, 2])])}
    assert np.isfinite(engine.run(alone).probabilities).all()
    assert np.isfinite(engine.run({"acoustic": pad([np.ones((3, 512), np.float32)], 512)}).probabilities).all()


def test_features_and_tokens_are_not_mistaken_for_each_other(source: TextSource, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    inside = OnnxEngine(write_graph(Order(bundle, text={"text": source})), bundle.modalities)
    with pytest.raises(FeatureError, match="text is read as tokens by this engine"):
        inside.run({"text": pad([np.ones((3, 384), np.float32)], 384)})
    with pytest.raises(FeatureError, match="text is read as features by this engine"):
        OnnxEngine(write_graph(Order(bundle)), bundle.modalities).run({"text": pad_tokens([np.array([1, 40, 2])])})
    with pytest.raises(FeatureError, match="text holds a negative token"):
        inside.run({"text": pad_tokens([np.array([1, -4, 2])])})


@pytest.mark.weights
def test_the_shipped_bundle_reads_words_with_the_real_encoder_inside() -> None:
    bundle = load_bundle(shipped_bundle())
    text = text_sources(bundle)
    engine = OnnxEngine(write_graph(Order(bundle, text=text)), bundle.modalities)
    assert engine.reads_tokens == {"text"}
    found = admit(engine, bundle, text)
    assert found.largest_difference < 1e-5
    assert found.clips == 200
