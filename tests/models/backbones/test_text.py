"""Text encoders on tiny checkpoints in the hub's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from models.backbones.text import TextEncoder
from models.backbones.tokens import MAX_TOKENS
from models.errors import WeightsError
from tests.fakes.checkpoints import DIM, byte_tokenizer, tiny_checkpoint

ARCHITECTURES = ("roberta", "modernbert")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {architecture: tiny_checkpoint(architecture, root / architecture) for architecture in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_gives_a_row_a_token_without_those_that_open_and_close_it(
    folders: dict[str, Path], architecture: str
) -> None:
    (features,) = TextEncoder(folders[architecture]).encode(["well, then"])
    assert features.shape == (len("well, then"), DIM)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_four_layers_are_summed(folders: dict[str, Path], architecture: str) -> None:
    ids = torch.tensor([byte_tokenizer().encode("no way").ids])
    model = AutoModel.from_pretrained(folders[architecture]).eval()
    with torch.inference_mode():
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
    (found,) = TextEncoder(folders[architecture]).encode(["no way"])
    np.testing.assert_allclose(found, torch.stack(hidden[-4:]).sum(dim=0)[0, 1:-1].numpy(), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_gives_the_same_alone_and_in_any_batch(folders: dict[str, Path], architecture: str) -> None:
    text = TextEncoder(folders[architecture])
    texts = ["no", "what a long thing to say to anybody", "well"]
    for said, found in zip(texts, text.encode(texts), strict=True):
        np.testing.assert_allclose(found, text.encode([said])[0], atol=1e-4)


def test_stacked_layers_stand_side_by_side_the_earliest_first(folders: dict[str, Path]) -> None:
    (stacked,) = TextEncoder(folders["roberta"], layers=2, stacked=True).encode(["ho"])
    (last,) = TextEncoder(folders["roberta"], layers=1).encode(["ho"])
    assert stacked.shape == (2, 2 * DIM)
    np.testing.assert_allclose(stacked[:, DIM:], last, atol=1e-6)


def test_an_empty_text_gives_no_rows_and_a_long_one_is_cut(folders: dict[str, Path]) -> None:
    empty, long = TextEncoder(folders["roberta"]).encode(["", "a" * 500])
    assert (empty.shape, long.shape) == ((0, DIM), (MAX_TOKENS - 2, DIM))


def test_what_is_no_text_encoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a model of type 'hubert', expected bert or roberta or modernbert"):
        TextEncoder(tiny_checkpoint("hubert", tmp_path / "hubert"))
    with pytest.raises(WeightsError, match="holds a model of type 'roberta', expected modernbert"):
        TextEncoder(folders["roberta"], architecture="modernbert")
    with pytest.raises(WeightsError, match=r"it holds no config\.json"):
        TextEncoder(tmp_path)


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    (tiny_checkpoint("roberta", tmp_path) / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="no usable tokeniser"):
        TextEncoder(tmp_path)
