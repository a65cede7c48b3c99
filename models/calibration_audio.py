"""Audio that a user gives, for speech encoders inside an engine of reduced precision: measured on, and checked on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import pad_audio
from models.check_clips import CheckClips
from models.errors import EngineError, FeatureError
from models.modalities import EngineBatch, EngineInputs, Modality
from models.windows import FRAME_SAMPLES, SAMPLE_RATE_HZ

PIECE_S: Final = 8.0
"""Files are cut into pieces that are no longer: about as long as segments are."""
HELD_OUT_EVERY: Final = 4
"""Of so many pieces, or clips, one is left to the check alone."""

Clip = TypeVar("Clip")


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationAudio:
    """Pieces of speech, and what names them."""

    pieces: Sequence[NDArray[np.float32]]
    """Each `[samples]`, mono at 16 kHz."""
    sha256: str
    """Of all samples."""

    def __post_init__(self) -> None:
        if len(self.pieces) < HELD_OUT_EVERY:
            raise EngineError(
                f"{len(self.pieces)} pieces of speech of up to {PIECE_S:g} s are too few to measure ranges on and to "
                "check them: give a few minutes"
            )

    @property
    def measured(self) -> list[NDArray[np.float32]]:
        """What ranges are measured on."""
        return measured_part(self.pieces)

    @property
    def held_out(self) -> list[NDArray[np.float32]]:
        """What the check alone hears."""
        return list(self.pieces[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])

    @classmethod
    def of(cls, recordings: Sequence[NDArray[np.float32]]) -> Self:
        """Cuts recordings into pieces.

        Args:
            recordings: each `[samples]`, mono at 16 kHz.

        Raises:
            EngineError: there is too little of it.
        """
        size = round(PIECE_S * SAMPLE_RATE_HZ)
        cut = [recording[start : start + size] for recording in recordings for start in range(0, len(recording), size)]
        pieces = [np.ascontiguousarray(piece, dtype=np.float32) for piece in cut if piece.size >= FRAME_SAMPLES]
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(f"{piece.size} ".encode() + piece.tobytes())
        return cls(pieces, digest.hexdigest())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads every audio file in a folder, those within its folders included.

        Args:
            folder: of files that FFmpeg reads, see `models.audio_files.SUFFIXES`.

        Raises:
            EngineError: no folder, no audio in it, too little, or some that cannot be read.
        """
        from models.audio_files import SUFFIXES, read_clip

        if not folder.is_dir():
            raise EngineError(f"{folder}: no such folder: give one with a few minutes of speech")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not paths:
            raise EngineError(f"{folder} holds no audio: {', '.join(sorted(SUFFIXES))} are read")
        try:
            return cls.of([read_clip(path) for path in paths])
        except FeatureError as error:
            raise EngineError(f"{error}: take it out of the folder, or bring it whole") from error


def measured_part(clips: Sequence[Clip]) -> list[Clip]:
    """What ranges are measured on: the rest is new to them where the check hears or reads it."""
    return [clip for number, clip in enumerate(clips) if (number + 1) % HELD_OUT_EVERY]


def beside_clips(
    pieces: Sequence[NDArray[np.float32]],
    hears: Collection[str],
    clips: CheckClips | None,
    modalities: Sequence[Modality],
) -> Iterator[EngineInputs]:
    """Pieces of speech, each with what a bundle's clip holds for those modalities that do not hear.

    Nobody said those words in that voice; encoders do not know, and members are given all they read.

    Args:
        pieces: each `[samples]`.
        hears: modalities that are given them.
        clips: of the bundle; None where it has none, so that all other modalities are missing.
        modalities: of the bundle.

    Yields:
        Batches of one row.
    """
    silent = None if clips is None else clips.without(hears)
    others = single_clips(silent, modalities)
    for number, piece in enumerate(pieces):
        other = others[number * len(others) // len(pieces)] if others else {}
        audio = pad_audio([piece])
        yield {**other, **dict.fromkeys(hears, audio)}


def single_clips(clips: CheckClips | None, modalities: Sequence[Modality]) -> list[dict[str, EngineBatch]]:
    """Clips one by one, so that nothing is padded."""
    return [] if clips is None else [dict(batch) for batch in clips.inputs(modalities, 1)]
