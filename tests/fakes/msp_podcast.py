"""A tiny MSP-Podcast, in the form of the official distribution."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.corpora import write_tone

CONSENSUS_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
DETAILED_COLUMNS = ("FileName", "Worker", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance of the corpus."""

    name: str
    consensus: str = "H"
    votes: Sequence[str] = ("Happy", "Happy", "Neutral")
    """What each rater chose first."""
    transcript: str | None = "so there we were"
    speaker: str = "1"
    gender: str = "Female"
    split: str = "Train"
    attributes: tuple[object, object, object] = (4.5, 5.0, 4.0)
    """Arousal, valence, dominance."""


def write_msp_podcast(folder: Path, clips: Iterable[Clip], *, seconds: float = 0.1) -> Path:
    """Labels, audio and transcripts; a clip without transcript has no file for it."""
    clips = list(clips)
    for clip in clips:
        write_tone(folder / "Audios" / f"{clip.name}.wav", seconds=seconds)
        if clip.transcript is not None:
            path = folder / "Transcripts" / f"{clip.name}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{clip.transcript}\n", encoding="utf-8")
    write_rows(
        folder / "Labels" / "labels_consensus.csv",
        CONSENSUS_COLUMNS,
        [(f"{c.name}.wav", c.consensus, *c.attributes, c.speaker, c.gender, c.split) for c in clips],
    )
    write_rows(
        folder / "Labels" / "labels_detailed.csv",
        DETAILED_COLUMNS,
        [
            (f"{clip.name}.wav", f"WORKER{rater:08d}", chosen, f"{chosen},Concerned", 5, 4, 4)
            for clip in clips
            for rater, chosen in enumerate(clip.votes)
        ],
    )
    return folder


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path
