"""RAVDESS, the speech part: 24 actors, two sentences, eight acted emotions (Livingstone and Russo 2018)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from trainer.corpora.clips import Collector
from trainer.corpora.manifest import Corpus
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "ravdess"
LICENCE: Final = "CC-BY-NC-SA-4.0"
CITATION: Final = (
    "Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). "
    "PLoS ONE 13(5): e0196391"
)
ACTORS: Final = 24
CLIPS_AN_ACTOR: Final = 60

_LABELS: Final = {
    "01": "neutral",
    "02": "neutral",  # calm, which MSP's classes do not have; its authors made it as a second baseline
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
_SENTENCES: Final = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_NAME: Final = re.compile(
    r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
    r"-(?P<sentence>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)"
)
_AUDIO_ONLY: Final = "03"
_SPEECH: Final = "01"


def load_ravdess(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the folder `Actor_01` to `Actor_24`, or any part of it.

    Args:
        folder: holds clips named MODALITY-CHANNEL-EMOTION-INTENSITY-SENTENCE-REPETITION-ACTOR, at any depth.
        progress: shows how far it is.

    Returns:
        Calm counts as neutral. Actors and clips that are missing are among the problems.

    Raises:
        CorpusError: no folder, or nothing in it that can be used.
    """
    collector = Collector(NAME, folder, progress)
    for path in collector.clips():
        named = _NAME.fullmatch(path.stem)
        if named is None:
            collector.problem(path, "left out: the name is not MODALITY-CHANNEL-EMOTION-... of seven numbers")
        elif named["channel"] != _SPEECH or named["modality"] != _AUDIO_ONLY:
            collector.problem(path, "left out: not of the audio-only speech part (names that start with 03-01)")
        elif named["emotion"] not in _LABELS or named["sentence"] not in _SENTENCES:
            collector.problem(path, f"left out: no emotion {named['emotion']} or no sentence {named['sentence']}")
        elif not 1 <= int(named["actor"]) <= ACTORS:
            collector.problem(path, f"left out: there is no actor {named['actor']}")
        else:
            collector.add(
                path,
                label=_LABELS[named["emotion"]],
                text=_SENTENCES[named["sentence"]],
                language="en",
                speaker=f"actor-{named['actor']}",
                gender="male" if int(named["actor"]) % 2 else "female",
            )
    _note_missing(collector)
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _note_missing(collector: Collector) -> None:
    found = [u.speaker for u in collector.utterances.values()]
    for actor in range(1, ACTORS + 1):
        count = found.count(f"{NAME}/actor-{actor:02d}")
        if count < CLIPS_AN_ACTOR:
            collector.problem(f"Actor_{actor:02d}", f"{count} of {CLIPS_AN_ACTOR} clips are here and usable")
