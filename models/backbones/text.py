"""The text backbones: token representations of what was said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from models.backbones.checkpoint import choose_device, load_frozen, precision_on, read_layers, require
from models.backbones.registry import KINDS
from models.backbones.tokens import ENGLISH, Tokens
from models.modalities import SPECIAL_TOKENS

SUMMED_LAYERS: Final = 4

_TEXT_MODELS: Final = tuple(name for name, kind in KINDS.items() if kind == "linguistic")


class TextEncoder:
    """A frozen BERT-like encoder: its last hidden layers, special tokens dropped (paper, features).

    The same text gives the same features alone and in any batch. Thread-safe: the model is only read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        languages: frozenset[str] | None = ENGLISH,
        architecture: str | Sequence[str] = _TEXT_MODELS,
        layers: int = SUMMED_LAYERS,
        stacked: bool = False,
        device: str = "cpu",
    ) -> None:
        """Loads the model.

        Args:
            folder: model folder in the hub's format, with `tokenizer.json`.
            languages: ISO 639-1 codes of the languages it represents well; None for any.
            architecture: what it must be; any BERT-like encoder by default.
            layers: hidden layers that are read, counted from the last.
            stacked: whether they stand side by side; else they are summed.
            device: `cpu`, `cuda` or `auto`.

        Raises:
            FeatureError: the device is not there.
            WeightsError: the folder does not hold such a model, or none that transformers can load.
        """
        self.languages = languages
        self._layers = layers
        self._stacked = stacked
        self._device = choose_device(device)
        require(folder, architecture, layers)
        self._tokens = Tokens(folder, languages=languages)
        self._model = load_frozen(folder, AutoModel, self._device, precision_on(self._device))

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Token representations.

        Args:
            texts: what was said; an empty text gives no tokens.

        Returns:
            Per text `[tokens, dim]`, without the tokens that open and close a sequence; at most `MAX_TOKENS` - 2. Where
            layers are stacked, `[tokens, layers * dim]`.
        """
        return self.encode_tokens(self._tokens.encode(texts))

    def encode_tokens(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """As `encode`, of texts that are tokens already.

        Args:
            texts: each `[tokens]`, opened and closed by special tokens.
        """
        if not texts:
            return []
        longest = max(text.size for text in texts)
        ids = torch.full((len(texts), longest), self._model.config.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.size] = torch.from_numpy(text)
            mask[row, : text.size] = 1
        with torch.inference_mode():
            hidden = self._model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device), output_hidden_states=True
            ).hidden_states
            features = read_layers(hidden, self._layers, stacked=self._stacked).cpu().numpy()
        return [
            np.ascontiguousarray(features[row, 1 : text.size - SPECIAL_TOKENS + 1]) for row, text in enumerate(texts)
        ]
