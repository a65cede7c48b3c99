"""Clips and the words that are said in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.audio import read_clip

REFERENCES: Final = "refs.tsv"


class CorpusFormatError(ValueError):
    """The folder is not one of clips and their reference words."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is said in it."""

    path: Path
    samples: NDArray[np.float32]
    """`[samples]`, 16 kHz mono."""
    reference: str


def load_clips(folder: Path, limit: int | None = None) -> list[Clip]:
    """Reads a corpus.

    Args:
        folder: with `refs.tsv`, each line a path within the folder, a tab, and the reference words.
        limit: how many clips to read at most.

    Raises:
        CorpusFormatError: there is no such file, or a line of it is not of that form.
        CorpusError: a clip cannot be read.
    """
    path = folder / REFERENCES
    if not path.is_file():
        raise CorpusFormatError(f"{path} does not exist: it lists each clip and its words, separated by a tab")
    clips: list[Clip] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:limit], start=1):
        name, tab, reference = line.partition("\t")
        if not tab or not reference.strip():
            raise CorpusFormatError(f"{path}:{number}: expected a path, a tab and the words, got {line[:80]!r}")
        clips.append(Clip(folder / name, read_clip(folder / name), reference))
    if not clips:
        raise CorpusFormatError(f"{path} lists no clips")
    return clips
