"""IEMOCAP: ten actors in five sessions of scripted and improvised dialogue, in English (Busso et al. 2008)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.emotions import Attributes
from trainer.corpora.clips import Collector, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.ratings import NO_AGREEMENT, OTHER, five_points, parse_attributes, tally
from trainer.corpora.tables import read_text
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "iemocap"
LICENCE: Final = "IEMOCAP licence, by agreement with USC; research only"
CITATION: Final = (
    "Busso C, Bulut M, Lee CC, Kazemzadeh A, Mower E, Kim S, Chang JN, Lee S, Narayanan SS (2008). IEMOCAP: "
    "Interactive emotional dyadic motion capture database. Language Resources and Evaluation 42(4), 335-359"
)
SESSIONS: Final = 5

_CONSENSUS: Final = {
    "ang": "angry",
    "hap": "happy",
    "exc": "happy",
    "sad": "sad",
    "neu": "neutral",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "fru": OTHER,
    "oth": OTHER,
    "xxx": NO_AGREEMENT,
}
_CHOICES: Final = {
    "anger": "angry",
    "happiness": "happy",
    "excited": "happy",
    "sadness": "sad",
    "neutral": "neutral",
    "neutral state": "neutral",
    "fear": "fear",
    "surprise": "surprise",
    "disgust": "disgust",
    "frustration": OTHER,
    "other": OTHER,
}
_TURN: Final = re.compile(
    r"\[\s*(?P<begin>[\d.]+)\s*-\s*(?P<end>[\d.]+)\s*\]\s+(?P<name>\S+)\s+(?P<label>\w+)\s+\[(?P<vad>[^\]]*)\]"
)
_CHOICE: Final = re.compile(r"C-E\d+:\s*(?P<choices>[^(]*)")
"""One rater's categories. The actors' own, `C-F1` and `C-M1`, have no part in the consensus, nor in the votes."""
_SPOKEN: Final = re.compile(r"(?P<name>Ses\S+)\s*\[[^\]]*\]:\s*(?P<text>.*)")
_NAME: Final = re.compile(r"(?P<session>Ses\d\d)[FM]_\w+_(?P<gender>[FM])[A-Z]*\d+")
_GENDERS: Final = {"F": "female", "M": "male"}


@dataclass(slots=True)
class _Turn:
    """One utterance, as a file of evaluations tells of it."""

    name: str
    label: str
    vad: str
    votes: dict[str, float] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def load_iemocap(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the official distribution: `Session1` to `Session5`, or some of them.

    Args:
        folder: holds the sessions, each with `dialog/EmoEvaluation`, `dialog/transcriptions` and `sentences/wav`.
        progress: shows how far it is.

    Returns:
        Each rater has one vote, shared among the categories they chose. Excited is happy; frustration is none of our
        classes and counts as `other`. Attributes come from 1 to 5 and are stretched to 1 to 7. Utterances whose raters
        did not agree on one of our classes are ambiguous; turns without audio, and audio without a turn, are listed.

    Raises:
        CorpusError: no folder, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    for number in range(1, SESSIONS + 1):
        session = folder / f"Session{number}"
        if session.is_dir():
            _read_session(session, collector)
        else:
            collector.problem(session, "missing")
    collector.measure()
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _read_session(session: Path, collector: Collector) -> None:
    spoken = _transcripts(session / "dialog" / "transcriptions", collector)
    clips = {path.stem: path for path in sorted((session / "sentences" / "wav").glob("*/*.wav")) if _is_ours(path)}
    evaluations = [path for path in sorted((session / "dialog" / "EmoEvaluation").glob("*.txt")) if _is_ours(path)]
    if not evaluations:
        collector.problem(session, "no file in dialog/EmoEvaluation")
    for path in evaluations:
        for turn in _turns(path):
            clip = clips.pop(turn.name, None)
            try:
                collector.take(_utterance(turn, clip, spoken.get(turn.name), collector))
            except CorpusError as error:
                collector.problem(clip or turn.name, f"left out: {error}")
    for clip in clips.values():
        collector.problem(clip, "no turn in dialog/EmoEvaluation")


def _is_ours(path: Path) -> bool:
    """False for the shadows that a Mac leaves beside files, of which the distribution has many."""
    return not path.name.startswith("._")


def _turns(path: Path) -> list[_Turn]:
    turns: list[_Turn] = []
    for line in read_text(path).splitlines():
        begun, chosen = _TURN.match(line), _CHOICE.match(line)
        if begun is not None:
            turns.append(_Turn(begun["name"], begun["label"].lower(), begun["vad"]))
        elif chosen is not None and turns:
            choices = [choice.strip().lower() for choice in chosen["choices"].split(";") if choice.strip()]
            turns[-1].unknown += [choice for choice in choices if choice not in _CHOICES]
            for choice in choices:
                label = _CHOICES.get(choice, OTHER)
                turns[-1].votes[label] = turns[-1].votes.get(label, 0.0) + 1 / len(choices)
    return turns


def _utterance(turn: _Turn, clip: Path | None, text: str | None, collector: Collector) -> Utterance:
    named = _NAME.fullmatch(turn.name)
    if clip is None:
        raise CorpusError("no clip of this name in sentences/wav")
    if named is None:
        raise CorpusError("the name is not session, dialogue, gender and number, as in Ses01F_impro01_F000")
    consensus = _CONSENSUS.get(turn.label)
    if consensus is None:
        raise CorpusError(f"label {turn.label!r} is none of {', '.join(_CONSENSUS)}")
    if turn.unknown:
        collector.problem(clip, f"raters chose {', '.join(turn.unknown)}, which counts as {OTHER}")
    if text is None:
        collector.problem(clip, "no transcript")
    ratings = tally(turn.votes, consensus)
    if ratings.ambiguous and consensus not in (OTHER, NO_AGREEMENT):
        collector.problem(clip, f"the votes do not bear out {consensus}, the consensus: kept as ambiguous")
    return Utterance(
        id=f"{NAME}/{turn.name}",
        corpus=NAME,
        audio=clip,
        text=text,
        language="en",
        target=ratings.target,
        speaker=f"{NAME}/{named['session']}{named['gender']}",
        votes=ratings.votes,
        ambiguous=ratings.ambiguous,
        attributes=_attributes(turn.vad, clip, collector),
        gender=_GENDERS[named["gender"]],
    )


def _attributes(written: str, clip: Path, collector: Collector) -> Attributes | None:
    """From valence, activation and dominance, each 1 to 5."""
    try:
        valence, arousal, dominance = (five_points(value) for value in written.split(","))
        return parse_attributes({"arousal": arousal, "valence": valence, "dominance": dominance})
    except (CorpusError, ValueError) as error:
        collector.problem(clip, f"no attributes, [{written}] does not do: {error}")
        return None


def _transcripts(folder: Path, collector: Collector) -> dict[str, str]:
    spoken: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")):
        if _is_ours(path):
            found = (_SPOKEN.match(line) for line in read_text(path).splitlines())
            spoken |= {
                said["name"]: said["text"].strip() for said in found if said is not None and said["text"].strip()
            }
    if not spoken:
        collector.problem(folder, "no transcript in it")
    return spoken
