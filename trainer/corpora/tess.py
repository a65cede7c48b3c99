"""TESS, the Toronto emotional speech set: two speakers, seven emotions, one carrier phrase."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

from trainer.corpora.clips import Collector
from trainer.corpora.manifest import Corpus
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "tess"
LICENCE: Final = "CC-BY-NC-ND-4.0 (not verified)"
CITATION: Final = (
    "Pichora-Fuller MK, Dupuis K (2020). Toronto emotional speech set (TESS). Borealis. doi:10.5683/SP2/E8H2MF"
)
WORDS: Final = 200

_LABELS: Final = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "pleasant_surprise": "surprise",
    "pleasant_surprised": "surprise",
    "ps": "surprise",
    "sad": "sad",
}
_SPEAKERS: Final = ("OAF", "YAF")
_FOLDER: Final = re.compile(rf"(?P<speaker>{'|'.join(_SPEAKERS)})_(?P<emotion>\w+)", re.IGNORECASE)
# One clip of the official distribution lacks an initial: OA_bite_neutral.wav.
_CLIP: Final = re.compile(r"(?P<speaker>OAF|OA|YAF)_(?P<word>[A-Za-z']+)_(?P<emotion>\w+)", re.IGNORECASE)


def load_tess(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads folders such as `OAF_angry` and `YAF_pleasant_surprised`, however they are capitalised.

    Args:
        folder: holds the emotion folders, at any depth, with clips named SPEAKER_WORD_EMOTION.
        progress: shows how far it is.

    Returns:
        Pleasant surprise is surprise. Clips that are missing are counted among the problems.

    Raises:
        CorpusError: no folder, or nothing in it that can be used.
    """
    collector = Collector(NAME, folder, progress)
    for path in collector.clips():
        inside, named = _FOLDER.fullmatch(path.parent.name), _CLIP.fullmatch(path.stem)
        if inside is None or named is None:
            collector.problem(path, "left out: not a clip SPEAKER_WORD_EMOTION in a folder SPEAKER_EMOTION")
            continue
        meant, stated = _LABELS.get(inside["emotion"].lower()), _LABELS.get(named["emotion"].lower())
        if meant is None or stated is None:
            unknown = inside["emotion"] if meant is None else named["emotion"]
            collector.problem(path, f"left out: unknown emotion {unknown!r}")
        elif meant != stated or not inside["speaker"].upper().startswith(named["speaker"].upper()):
            collector.problem(path, f"left out: name and folder {path.parent.name} contradict each other")
        else:
            collector.add(
                path,
                label=meant,
                text=f"Say the word {named['word'].lower()}.",
                language="en",
                speaker=inside["speaker"].upper(),
                gender="female",
            )
    _note_missing(collector)
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _note_missing(collector: Collector) -> None:
    found = Counter((u.speaker, u.consensus) for u in collector.utterances.values())
    for speaker in _SPEAKERS:
        for label in dict.fromkeys(_LABELS.values()):
            count = found[f"{NAME}/{speaker}", label]
            if count < WORDS:
                collector.problem(f"{speaker}, {label}", f"{count} of {WORDS} clips are here and usable")
