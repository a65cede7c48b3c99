"""The text backbone: token representations of what was said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

from models.errors import WeightsError

SUMMED_LAYERS: Final = 4
MAX_TOKENS: Final = 128
ENGLISH: Final = frozenset({"en"})


class TextEncoder:
    """A frozen BERT-like encoder: the sum of its last four hidden layers, special tokens dropped (paper, features).

    Thread-safe: the model is only read.
    """

    def __init__(self, folder: Path, *, languages: frozenset[str] = ENGLISH) -> None:
        """Loads the model.

        Args:
            folder: model folder in the hub's format, with `tokenizer.json`.
            languages: ISO 639-1 codes of the languages it represents well.

        Raises:
            WeightsError: the folder does not hold a model that transformers can load.
        """
        self.languages = languages
        disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
        except Exception as error:
            raise WeightsError(f"no usable text encoder in {folder}: {error}") from error
        self._tokenizer.enable_truncation(max_length=MAX_TOKENS)
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Token representations.

        Args:
            texts: what was said; an empty text gives no tokens.

        Returns:
            Per text `[tokens, dim]`, without the tokens that open and close a sequence; at most `MAX_TOKENS` - 2.
        """
        if not texts:
            return []
        encodings = self._tokenizer.encode_batch(list(texts))
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        mask = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
            mask[row, : len(encoding.ids)] = 1
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
            summed = torch.stack(hidden[-SUMMED_LAYERS:]).sum(dim=0).numpy()
        return [
            np.ascontiguousarray(summed[row, : len(encoding.ids)][np.array(encoding.special_tokens_mask) == 0])
            for row, encoding in enumerate(encodings)
        ]
