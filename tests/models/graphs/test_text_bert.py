"""RoBERTa's positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.backbones.text import TextEncoder
from models.backbones.tokens import Tokens
from models.graphs.text import TextGraph
from models.modalities import pad_tokens
from tests.fakes.text_graphs import encoded, lively_checkpoint

TEXTS = ("well, then", "no")


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_positions_begin_behind_the_row_of_the_padding_token(padding: int, tmp_path: Path) -> None:
    # It opens every text where it is 0: a text does not hold the padding token, so another opens these.
    folder = lively_checkpoint("roberta", tmp_path, pad_token_id=padding)
    tokens = [np.concatenate([[2], own[1:]]) for own in Tokens(folder).encode(TEXTS)]
    found = encoded(TextGraph.read(folder, layers=4), pad_tokens(tokens))
    for row, own in enumerate(TextEncoder(folder).encode_tokens(tokens)):
        np.testing.assert_allclose(found[row, : len(own)], own, rtol=1e-5, atol=5e-5)


def test_a_table_with_one_kind_of_token_is_enough(tmp_path: Path) -> None:
    folder = lively_checkpoint("roberta", tmp_path, type_vocab_size=1)
    found = encoded(TextGraph.read(folder, layers=4), pad_tokens(Tokens(folder).encode(["no"])))
    np.testing.assert_allclose(found[0], TextEncoder(folder).encode(["no"])[0], rtol=1e-5, atol=5e-5)
