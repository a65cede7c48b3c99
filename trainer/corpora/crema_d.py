"""CREMA-D: 91 actors, 12 sentences, each clip judged by about ten raters, by voice, face and both (Cao et al. 2014).

Targets are what raters heard or saw, not what actors meant.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final, Literal

from trainer.corpora.clips import Collector, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.published_files import damages, read_published
from trainer.corpora.ratings import tally
from trainer.corpora.tables import Row, read_table, read_text
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "crema_d"
LICENCE: Final = "ODbL-1.0, contents DbCL-1.0"
CITATION: Final = (
    "Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced Emotional Multimodal "
    "Actors Dataset. IEEE Transactions on Affective Computing 5(4), 377-390"
)
PUBLISHED: Final = "lfs_sha256.tsv"
SPLITS: Final = "audeering_speaker_splits.json"

Condition = Literal["voice", "face", "voice and face"]
"""What raters had before them."""

_CONDITIONS: Final[dict[Condition, int]] = {"voice": 1, "face": 2, "voice and face": 3}
_CONDITION_STEP: Final = 100_000
"""A row of votes is numbered by its condition times this, plus the number of its clip."""
_VOTES: Final = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
_SENTENCES: Final = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_NAME: Final = re.compile(r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_[A-Z]{3}_(?:XX|LO|MD|HI)")
_SILENT: Final = frozenset({"1076_MTI_SAD_XX"})
"""Published without sound: CheyneyComputerScience/CREMA-D, issue 8."""
_AUDIO: Final = "AudioWAV"
_OUR_SPLITS: Final = {"train": "train", "dev": "development", "test": "test"}


def load_crema_d(folder: Path, *, condition: Condition = "voice", progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the official distribution, or any part of it.

    Args:
        folder: holds `tabulatedVotes.csv`, `SentenceFilenames.csv`, `VideoDemographics.csv` and `AudioWAV`; also, where
            they are there, `lfs_sha256.tsv` (path, SHA-256 and size of every file) and the speaker-independent split
            `audeering_speaker_splits.json`.
        condition: whose votes become the target.
        progress: shows how far it is.

    Returns:
        Clips whose votes have no single strongest class are ambiguous. Clips that are missing, damaged, or have no
        votes are among the problems.

    Raises:
        CorpusError: no folder, no votes, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    clips = _clip_names(collector)
    votes = _votes(clips, condition, collector)
    genders = _genders(collector)
    splits = _splits(collector)
    sound = _sound_files(collector)
    missing: dict[str, list[str]] = {}
    for name in clips.values():
        path = sound.pop(name, None)
        if path is None:
            missing.setdefault(name[:4], []).append(name)
            continue
        named = _NAME.fullmatch(name)
        if named is None or named["sentence"] not in _SENTENCES:
            collector.problem(path, "left out: the name is not actor, sentence, emotion and level, as 1001_DFA_ANG_XX")
        elif name in _SILENT:
            collector.problem(path, "left out: it was published without sound")
        elif name not in votes:
            collector.problem(path, f"left out: no votes on {condition} in tabulatedVotes.csv")
        else:
            ratings = tally(votes[name])
            collector.take(
                Utterance(
                    id=f"{NAME}/{name}",
                    corpus=NAME,
                    audio=path,
                    text=_SENTENCES[named["sentence"]],
                    language="en",
                    target=ratings.target,
                    speaker=f"{NAME}/{named['actor']}",
                    votes=ratings.votes,
                    ambiguous=ratings.ambiguous,
                    gender=genders.get(named["actor"]),
                    split=splits.get(named["actor"]),
                )
            )
    for path in sound.values():
        collector.problem(path, "left out: not in SentenceFilenames.csv")
    for actor, names in missing.items():
        listed = ", ".join(names)
        collector.problem(f"{_AUDIO}/{actor}", f"{len(names)} clips are not here or not as published: {listed}")
    collector.measure()
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _clip_names(collector: Collector) -> dict[int, str]:
    """Names of clips without suffix, by their number."""
    columns = {"number": ("Stimulus_Number",), "name": ("Filename",)}
    path = collector.folder / "SentenceFilenames.csv"
    names: dict[int, str] = {}
    for line, row in read_table(path, columns, collector.problems):
        if not row["number"].isdecimal() or int(row["number"]) in names:
            collector.problem(f"{path.name}:{line}", f"left out: {row['number']!r} is no number, or stands twice")
        else:
            names[int(row["number"])] = row["name"]
    return names


def _votes(clips: dict[int, str], condition: Condition, collector: Collector) -> dict[str, dict[str, float]]:
    """Raters by what they chose, for each clip's name."""
    columns = {
        "row": ("",),
        "name": ("fileName",),
        "raters": ("numResponses",),
        **{letter: (letter,) for letter in _VOTES},
    }
    path = collector.folder / "tabulatedVotes.csv"
    votes: dict[str, dict[str, float]] = {}
    for line, row in read_table(path, columns, collector.problems):
        try:
            asked, number = divmod(int(row["row"]), _CONDITION_STEP)
            chosen = {label: float(row[letter]) for letter, label in _VOTES.items()}
            raters = float(row["raters"])
        except ValueError:
            collector.problem(f"{path.name}:{line}", "left out: a row number, a count of votes or numResponses is none")
            continue
        if asked != _CONDITIONS[condition]:
            continue
        wrong = _contradiction(row, clips.get(number), chosen, raters)
        if wrong is None and row["name"] in votes:
            wrong = f"{row['name']} has votes already"
        if wrong is None:
            votes[row["name"]] = chosen
        else:
            collector.problem(f"{path.name}:{line}", f"left out: {wrong}")
    return votes


def _contradiction(row: Row, name: str | None, chosen: dict[str, float], raters: float) -> str | None:
    if name != row["name"]:
        return f"clip {row['row']} is {row['name']!r} here and {name!r} in SentenceFilenames.csv"
    if min(chosen.values()) < 0 or sum(chosen.values()) != raters or not raters:
        return f"{row['name']}: the votes {list(chosen.values())} do not sum to its {raters:g} raters"
    return None


def _genders(collector: Collector) -> dict[str, str]:
    path = collector.folder / "VideoDemographics.csv"
    genders: dict[str, str] = {}
    try:
        for line, row in read_table(path, {"actor": ("ActorID",), "sex": ("Sex",)}, collector.problems):
            if row["sex"].lower() in ("female", "male"):
                genders[row["actor"]] = row["sex"].lower()
            else:
                collector.problem(f"{path.name}:{line}", f"no gender for {row['actor']}: sex is {row['sex']!r}")
    except CorpusError as error:
        collector.problem(path, f"nobody's gender is known: {error}")
    return genders


def _splits(collector: Collector) -> dict[str, str]:
    """Split by actor; the same actor in two of them is an error in the file."""
    path = collector.folder / SPLITS
    if not path.is_file():
        collector.problem(path, "missing: no clip has a prescribed split")
        return {}
    splits: dict[str, str] = {}
    try:
        written = json.loads(read_text(path))
        for theirs, ours in _OUR_SPLITS.items():
            for actor in map(str, written[theirs]):
                if splits.setdefault(actor, ours) != ours:
                    raise CorpusError(f"{path}: actor {actor} is in {splits[actor]} and in {ours}")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: not an object with the actors of {', '.join(_OUR_SPLITS)} ({error})") from error
    return splits


def _sound_files(collector: Collector) -> dict[str, Path]:
    """Audio by its name without suffix, less what is not as it was published."""
    audio = collector.folder / _AUDIO
    if not audio.is_dir():
        raise CorpusError(f"corpus {NAME}: no folder {_AUDIO} in {collector.folder}")
    found = {path.stem: path for path in sorted(audio.glob("*.wav"))}
    if not (collector.folder / PUBLISHED).is_file():
        collector.problem(PUBLISHED, "missing: no clip could be compared with what was published; see docs/corpora.md")
        return found
    published = read_published(collector.folder / PUBLISHED)
    files = []
    for name, path in list(found.items()):
        wanted = published.get(f"{_AUDIO}/{path.name}")
        if wanted is None:
            collector.problem(found.pop(name), f"left out: not among the files of {PUBLISHED}")
        else:
            files.append((path, wanted))
    with collector.progress(f"{NAME}: SHA-256", len(files), 0.0) as advance:
        for path, wrong in damages(files, advance):
            collector.problem(found.pop(path.stem), f"left out: {wrong}")
    return found
