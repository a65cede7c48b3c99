"""Clips on disk as training reads them; what is wrong with one is an error of its corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import audio_files
from models.errors import FeatureError
from trainer.errors import CorpusError


def read_clip(path: Path) -> NDArray[np.float32]:
    """As `models.audio_files.read_clip`.

    Raises:
        CorpusError: no such file, no audio in it, or audio that cannot be decoded to its end.
    """
    try:
        return audio_files.read_clip(path)
    except FeatureError as error:
        raise CorpusError(str(error)) from error


def probe_duration_s(path: Path) -> float | None:
    """As `models.audio_files.probe_duration_s`.

    Raises:
        CorpusError: the file cannot be opened, or holds no audio.
    """
    try:
        return audio_files.probe_duration_s(path)
    except FeatureError as error:
        raise CorpusError(str(error)) from error
