"""GoEmotions: Reddit comments with 28 labels, mapped to ours, for the text modality (Demszky et al. 2020)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from models.emotions import MSP8, soft_target
from trainer.corpora.clips import require_folder
from trainer.corpora.manifest import Corpus, Problem, Utterance, no_majority
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "goemotions"
LICENCE: Final = "CC-BY-4.0"
CITATION: Final = (
    "Demszky D, Movshovitz-Attias D, Ko J, Cowen A, Nemade G, Ravi S (2020). "
    "GoEmotions: A Dataset of Fine-Grained Emotions. ACL 2020"
)
LABELS: Final = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
"""In the order of the ids in the files."""

EKMAN: Final = {
    "angry": ("anger", "annoyance", "disapproval"),
    "disgust": ("disgust",),
    "fear": ("fear", "nervousness"),
    "happy": (
        *("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy", "love"),
        *("optimism", "pride", "relief"),
    ),
    "sad": ("disappointment", "embarrassment", "grief", "remorse", "sadness"),
    "surprise": ("confusion", "curiosity", "realization", "surprise"),
    "neutral": ("neutral",),
}
"""The paper's grouping into Ekman's emotions, in our words."""

_OURS: Final = {theirs: ours for ours, group in EKMAN.items() for theirs in group}
_SPLITS: Final = {"train": "train", "dev": "development", "test": "test"}


def load_goemotions(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads `train.tsv`, `dev.tsv` and `test.tsv`: comment, comma-separated label ids, comment id.

    Args:
        folder: holds the three files.
        progress: shows how far it is.

    Returns:
        One utterance a comment, without audio; every label it was given is one vote. A comment whose votes leave no
        single strongest class is ambiguous. Files and lines that are missing or wrong are among the problems.

    Raises:
        CorpusError: no folder, or no line in it that can be used.
    """
    require_folder(folder, NAME)
    utterances: dict[str, Utterance] = {}
    problems: list[Problem] = []
    with progress(f"{NAME}: files", len(_SPLITS), 0.0) as advance:
        for file, split in _SPLITS.items():
            _read(folder / f"{file}.tsv", split, utterances, problems)
            advance(1, 0.0)
    if not utterances:
        first = f"; first: {problems[0]}" if problems else ""
        raise CorpusError(f"corpus {NAME}: no comment under {folder} can be used{first}")
    return Corpus(NAME, LICENCE, CITATION, tuple(utterances.values()), tuple(problems))


def _read(path: Path, split: str, utterances: dict[str, Utterance], problems: list[Problem]) -> None:
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        problems.append(Problem(path.name, f"missing: there is no {split} split"))
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path.name, f"cannot be read: {error}"))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            utterance = _parse(line.removesuffix("\r"), split)
        except CorpusError as error:
            problems.append(Problem(f"{path.name}:{number}", f"left out: {error}"))
            continue
        if utterance.id in utterances:
            problems.append(Problem(f"{path.name}:{number}", f"left out: {utterance.id} stands twice"))
        else:
            utterances[utterance.id] = utterance


def _parse(line: str, split: str) -> Utterance:
    fields = line.split("\t")
    if len(fields) != 3:
        raise CorpusError(f"{len(fields)} fields instead of comment, label ids and comment id")
    comment, ids, name = (field.strip() for field in fields)
    if not comment or not name:
        raise CorpusError("the comment or its id is empty")
    written = ids.split(",")
    unknown = [i for i in written if not (i.isascii() and i.isdecimal() and int(i) < len(LABELS))]
    if unknown:
        raise CorpusError(f"label ids must be numbers from 0 to {len(LABELS) - 1}, got {unknown[0]!r}")
    votes = Counter(_OURS[LABELS[int(i)]] for i in written)
    return Utterance(
        id=f"{NAME}/{name}",
        corpus=NAME,
        audio=None,
        text=comment,
        language="en",
        target=soft_target([votes[label] for label in MSP8], MSP8),
        speaker=f"{NAME}/{name}",
        votes={label: float(count) for label, count in votes.items()},
        ambiguous=no_majority(votes),
        split=split,
    )
