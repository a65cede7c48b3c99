"""EmoDB, the Berlin database of emotional speech: German, ten actors, ten sentences (Burkhardt et al. 2005)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from trainer.corpora.clips import Collector
from trainer.corpora.manifest import Corpus
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "emodb"
LICENCE: Final = "unknown (not verified)"
CITATION: Final = (
    "Burkhardt F, Paeschke A, Rolfes M, Sendlmeier W, Weiss B (2005). A database of German emotional speech. "
    "Interspeech 2005, 1517-1520"
)
CLIPS: Final = 535

_GENDERS: Final = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
_SENTENCES: Final = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute Abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_BOREDOM: Final = "L"
_LABELS: Final = {"W": "angry", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
"""The letter stands for the German word: Wut, Ekel, Angst, Freude, Trauer, neutral."""
_FOLDERS: Final = {
    "angry": "angry",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "happiness": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "sadness": "sad",
}
_NAME: Final = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z]?)")


def load_emodb(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the official `wav` folder, or folders named by emotion.

    Args:
        folder: holds clips named SPEAKER, SENTENCE, EMOTION, VERSION without separators, such as `03a01Fa`.
        progress: shows how far it is.

    Returns:
        Boredom, which MSP's classes do not have, is left out and listed.

    Raises:
        CorpusError: no folder, or nothing in it that can be used.
    """
    collector = Collector(NAME, folder, progress)
    for path in collector.clips():
        named = _NAME.fullmatch(path.stem)
        if named is None or named["speaker"] not in _GENDERS or named["sentence"] not in _SENTENCES:
            collector.problem(path, "left out: the name is not speaker, sentence, emotion and version, as in 03a01Fa")
            continue
        if named["emotion"] == _BOREDOM:
            collector.problem(path, "left out: boredom is none of our classes")
            continue
        label = _LABELS.get(named["emotion"])
        filed_under = _FOLDERS.get(path.parent.name.lower(), label)
        if label is None:
            collector.problem(path, f"left out: unknown emotion letter {named['emotion']}")
        elif filed_under != label:
            collector.problem(path, f"left out: the name says {label}, the folder {path.parent.name}")
        else:
            collector.add(
                path,
                label=label,
                text=_SENTENCES[named["sentence"]],
                language="de",
                speaker=named["speaker"],
                gender=_GENDERS[named["speaker"]],
            )
    if len(collector.utterances) < CLIPS:
        collector.problem(".", f"{len(collector.utterances)} of the corpus's {CLIPS} clips are here and usable")
    return collector.corpus(licence=LICENCE, citation=CITATION)
