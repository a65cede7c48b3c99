"""From a text to the tokens that a text encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.errors import WeightsError

MAX_TOKENS: Final = 128
ENGLISH: Final = frozenset({"en"})
_TOKENIZER_FILE: Final = "tokenizer.json"


class Tokens:
    """A text encoder's own tokeniser, without the encoder: for engines that have the encoder inside. Thread-safe."""

    def __init__(self, folder: Path, *, languages: frozenset[str] | None = ENGLISH) -> None:
        """Loads the tokeniser.

        Args:
            folder: model folder in the hub's format, with `tokenizer.json`.
            languages: ISO 639-1 codes of the languages the encoder represents well; None for any.

        Raises:
            WeightsError: the folder does not hold one.
        """
        self.languages = languages
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER_FILE))
        except Exception as error:
            raise WeightsError(f"no usable tokeniser in {folder}: {error}") from error
        self._tokenizer.enable_truncation(max_length=MAX_TOKENS)
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Tokens of each text.

        Args:
            texts: what was said; an empty text gives the special tokens alone.

        Returns:
            Per text `[tokens]`, opened and closed by special tokens; at most `MAX_TOKENS`.
        """
        return [np.array(encoding.ids, dtype=np.int64) for encoding in self._tokenizer.encode_batch(list(texts))]
