"""EmoTale: 18 speakers act five sentences in five emotions, in Danish and English (Hjuler et al. 2025).

Names of clips, the sentences and the columns of `annotations.csv` are those of github.com/snehadas/EmoTale. Not
verified, for want of the files: the columns of `speaker_info.csv` (several spellings are tried, and what fits none is
listed), in which folder the clips lie (all are searched), and the licence. The description speaks of two raters; the
table has three.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from models.emotions import Attributes
from trainer.corpora.clips import Collector, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.ratings import OTHER, five_points, parse_attributes, tally
from trainer.corpora.tables import Row, read_table
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "emotale"
LICENCE: Final = "unknown (not verified)"
CITATION: Final = (
    "Hjuler MJ, Skat-Rørdam HV, Clemmensen LH, Das S (2025). EmoTale: An Enacted Speech-emotion Dataset in Danish. "
    "ASRU 2025, arXiv:2508.14548"
)
CLIPS: Final = 800

_LABELS: Final = {"A": "angry", "B": OTHER, "H": "happy", "N": "neutral", "S": "sad"}
"""Boredom is none of our classes."""
_LANGUAGES: Final = {"DK": "da", "EN": "en"}
_SENTENCES: Final = {
    "da": (
        "Dugen ligger på køleskabet.",
        "Det sorte ark papir er placeret deroppe ved siden af tømmerstykket.",
        "De bar det bare ovenpå og nu skal de ned igen.",
        "Det vil være på det sted, hvor vi altid opbevarer det.",
        "Om syv timer er det morgen.",
    ),
    "en": (
        "The tablecloth is lying on the fridge.",
        "The black sheet of paper is located up there besides the piece of timber.",
        "They just carried it upstairs and now they are going down again.",
        "It will be in the place where we always store it.",
        "In seven hours it will be morning.",
    ),
}
_NAME: Final = re.compile(r"(?P<language>DK|EN)_(?P<speaker>\d{3})_(?P<emotion>[ABHNS])_(?P<sentence>[1-5])")
_RATERS: Final = ("a1", "a2", "a3")
_RATED: Final = ("cat", "A", "V", "D")
_COLUMNS: Final = {
    "file": ("file",),
    "acted": ("gt_emotion",),
    **{f"{rater}_{what}": (f"{rater}_{what}",) for rater in _RATERS for what in _RATED},
}
_OPTIONAL: Final = frozenset({"acted", *(f"a3_{what}" for what in _RATED)})
_SPEAKERS: Final = {
    "speaker": ("speaker", "speaker_id", "spk", "id", "subject"),
    "gender": ("gender", "sex"),
}
_GENDERS: Final = {"f": "female", "female": "female", "m": "male", "male": "male"}


def load_emotale(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the official distribution.

    Args:
        folder: holds `annotations.csv`, `speaker_info.csv` where it is there, and, at any depth, clips named LANGUAGE,
            SPEAKER, EMOTION and SENTENCE, such as `DK_004_A_5.wav`.
        progress: shows how far it is.

    Returns:
        Targets are the raters' votes, not what speakers meant. Boredom counts as `other`, so clips that nobody heard as
        anything else are left out. Attributes are the raters' means, stretched from 1 to 5 to 1 to 7. Clips without
        ratings, and ratings without a clip, are listed.

    Raises:
        CorpusError: no folder, no annotations, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    genders = _genders(collector)
    clips: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.wav")):
        if _NAME.fullmatch(path.stem) is None:
            collector.problem(path, "left out: the name is not language, speaker, emotion and sentence: DK_004_A_5")
        elif clips.setdefault(path.stem, path) != path:
            collector.problem(path, f"left out: the same clip as {clips[path.stem].relative_to(folder).as_posix()}")
    for line, row in read_table(folder / "annotations.csv", _COLUMNS, collector.problems, optional=_OPTIONAL):
        name = row["file"].removesuffix(".wav")
        clip = clips.pop(name, None)
        try:
            collector.take(_utterance(row, name, clip, genders))
        except CorpusError as error:
            collector.problem(name or f"annotations.csv:{line}", f"left out: {error}")
    for clip in clips.values():
        collector.problem(clip, "left out: no row in annotations.csv")
    collector.measure()
    if len(collector.utterances) < CLIPS:
        collector.problem(".", f"{len(collector.utterances)} of the corpus's {CLIPS} clips are here and usable")
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _utterance(row: Row, name: str, clip: Path | None, genders: dict[str, str]) -> Utterance:
    named = _NAME.fullmatch(name)
    if named is None:
        raise CorpusError("the name is not language, speaker, emotion and sentence, as DK_004_A_5")
    if clip is None:
        raise CorpusError("no clip of this name")
    if row["acted"] not in ("", named["emotion"]):
        raise CorpusError(f"the name says {named['emotion']}, gt_emotion says {row['acted']}")
    votes: dict[str, float] = {}
    for rater in _RATERS:
        chosen = row[f"{rater}_cat"].upper()
        if chosen and chosen not in _LABELS:
            raise CorpusError(f"{rater}_cat {chosen!r} is none of {', '.join(_LABELS)}")
        if chosen:
            votes[_LABELS[chosen]] = votes.get(_LABELS[chosen], 0.0) + 1.0
    ratings = tally(votes)
    language = _LANGUAGES[named["language"]]
    return Utterance(
        id=f"{NAME}/{name}",
        corpus=NAME,
        audio=clip,
        text=_SENTENCES[language][int(named["sentence"]) - 1],
        language=language,
        target=ratings.target,
        speaker=f"{NAME}/{named['speaker']}",
        votes=ratings.votes,
        ambiguous=ratings.ambiguous,
        attributes=_attributes(row),
        gender=genders.get(named["speaker"]),
    )


def _attributes(row: Row) -> Attributes | None:
    """Means over the raters who gave all three; None where nobody did."""
    rated = [[row[f"{rater}_{what}"] for what in ("A", "V", "D")] for rater in _RATERS]
    given = [[five_points(value) for value in values] for values in rated if all(values)]
    if not given:
        return None
    means = (sum(values) / len(given) for values in zip(*given, strict=True))
    return parse_attributes(dict(zip(("arousal", "valence", "dominance"), means, strict=True)))


def _genders(collector: Collector) -> dict[str, str]:
    path = collector.folder / "speaker_info.csv"
    genders: dict[str, str] = {}
    try:
        for line, row in read_table(path, _SPEAKERS, collector.problems):
            gender = _GENDERS.get(row["gender"].lower())
            speaker = "".join(character for character in row["speaker"] if character.isdecimal())
            if gender is None or not speaker:
                collector.problem(f"{path.name}:{line}", f"no gender: {row['speaker']!r} is {row['gender']!r}")
            else:
                genders[speaker.zfill(3)] = gender
    except CorpusError as error:
        collector.problem(path, f"nobody's gender is known: {error}")
    return genders
