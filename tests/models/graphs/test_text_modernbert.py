"""ModernBERT's windows, rotations and biases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backbones.text import TextEncoder
from models.backbones.tokens import Tokens
from models.graphs.text import TextGraph
from models.modalities import pad_tokens
from tests.fakes.checkpoints import LAYERS
from tests.fakes.text_graphs import encoded, lively_checkpoint

SHORT, LONG = "no", "what a long thing to say to anybody who is there"


def said(folder: Path, text: str) -> NDArray[np.float32]:
    return encoded(TextGraph.read(folder, layers=2), pad_tokens(Tokens(folder).encode([text])))[0]


def with_settings(folder: Path, **settings: Any) -> Path:
    """Changes what `config.json` says; None takes a setting out."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({name: setting for name, setting in config.items() if setting is not None}))
    return folder


def assert_as_transformers(folder: Path) -> None:
    for text in (SHORT, LONG):
        expected = TextEncoder(folder, layers=2).encode([text])[0]
        np.testing.assert_allclose(said(folder, text), expected, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("window", [2, 7, 8, 500])
def test_a_layer_sees_as_much_of_the_text_as_its_window(window: int, tmp_path: Path) -> None:
    assert_as_transformers(lively_checkpoint("modernbert", tmp_path, local_attention=window))


def test_a_window_matters_to_texts_that_do_not_fit_into_it(tmp_path: Path) -> None:
    narrow, wide = (
        lively_checkpoint("modernbert", tmp_path / str(window), local_attention=window) for window in (8, 500)
    )
    assert np.abs(said(narrow, LONG) - said(wide, LONG)).max() > 0.1
    np.testing.assert_array_equal(said(narrow, SHORT), said(wide, SHORT))


@pytest.mark.parametrize("kinds", [["sliding_attention"] * LAYERS, ["full_attention"] * LAYERS])
def test_each_layer_is_of_the_kind_that_is_named(kinds: list[str], tmp_path: Path) -> None:
    assert_as_transformers(lively_checkpoint("modernbert", tmp_path, layer_types=kinds))


def test_rotations_are_those_of_the_kind_of_layer(tmp_path: Path) -> None:
    rotations = {"full_attention": {"rope_theta": 50.0}, "sliding_attention": {"rope_theta": 7.0}}
    folder = lively_checkpoint("modernbert", tmp_path)
    usual = said(folder, LONG)
    assert_as_transformers(with_settings(folder, rope_parameters=rotations))
    assert np.abs(said(folder, LONG) - usual).max() > 0.1


def test_older_files_say_the_same_in_other_words(tmp_path: Path) -> None:
    folder = lively_checkpoint("modernbert", tmp_path)
    usual = said(folder, LONG)
    with_settings(folder, layer_types=None, rope_parameters=None, position_embedding_type="absolute")
    np.testing.assert_array_equal(said(folder, LONG), usual)
    with_settings(folder, global_attn_every_n_layers=2, global_rope_theta=50.0, local_rope_theta=7.0)
    assert_as_transformers(folder)
    assert np.abs(said(folder, LONG) - usual).max() > 0.1


@pytest.mark.parametrize("name", ["norm_bias", "attention_bias", "mlp_bias"])
def test_there_are_biases_where_the_configuration_says_so(name: str, tmp_path: Path) -> None:
    assert_as_transformers(lively_checkpoint("modernbert", tmp_path, **{name: True}))
