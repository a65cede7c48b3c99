"""MSP-Podcast: speech from podcasts, each clip judged by five raters or more (Lotfian and Busso 2019).

Votes are the raters' primary emotions. `labels_detailed.csv` comes in two forms, and both are read: a column each for
the rater and what they chose (`EmoClass_Major`), or one column with all of it between semicolons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from models.audio_files import SUFFIXES
from models.emotions import MSP_NAMES, Attributes
from trainer.corpora.clips import Collector, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.ratings import NO_AGREEMENT, OTHER, parse_attributes, tally
from trainer.corpora.tables import Row, read_table, read_text
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "msp_podcast"
LICENCE: Final = "MSP-Podcast academic licence, by agreement with UT Dallas"
CITATION: Final = (
    "Lotfian R, Busso C (2019). Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional "
    "Speech from Existing Podcast Recordings. IEEE Transactions on Affective Computing 10(4), 471-483"
)

_CODES: Final = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": OTHER,
    "X": NO_AGREEMENT,
}
_PRIMARY: Final = {
    **{name: name for name in MSP_NAMES},
    **{code.lower(): name for code, name in _CODES.items() if name != NO_AGREEMENT},
}
_SPLITS: Final = {"train": "train", "development": "development", "validation": "development"}
_TEST: Final = "test"
_AUDIO: Final = ("Audios", "Audio")
_TRANSCRIPTS: Final = "Transcripts"
_UNKNOWN: Final = frozenset({"", "unknown", "nan"})
_FILE: Final = ("FileName", "File")
_CONSENSUS: Final = {
    "file": _FILE,
    "class": ("EmoClass",),
    "arousal": ("EmoAct",),
    "valence": ("EmoVal",),
    "dominance": ("EmoDom",),
    "speaker": ("SpkrID", "SpeakerID"),
    "gender": ("Gender",),
    "split": ("Split_Set", "Split"),
}
_DETAILED: Final = {
    "file": _FILE,
    "rater": ("Workers", "Worker", "WorkerID", "Annotator", "AnnotatorID"),
    "primary": ("EmoClass_Major", "EmoClass_Primary", "EmoClass"),
    "detail": ("EmoDetail", "Detail"),
}


def load_msp_podcast(
    folder: Path, *, test_sets: Collection[str] | None = None, progress: ProgressFactory = no_progress
) -> Corpus:
    """Reads the official distribution: `Labels`, `Audios` and, where it is there, `Transcripts`.

    Args:
        folder: holds `labels_consensus.csv` and `labels_detailed.csv`, itself or in `Labels`, the clips in `Audios`
            or `Audio`, and the transcripts of clips, one text file each, in `Transcripts`.
        test_sets: which of the official test sets to keep, such as `Test1`; None keeps all. Each of them is split
            `test`: an utterance does not say which one it was.
        progress: shows how far it is.

    Returns:
        Whatever the raters chose beside the eight classes counts as `other`. Clips without agreement, or with agreement
        on `other`, are kept as ambiguous; those that nobody heard as any of the eight are left out. Files and rows that
        do not match are among the problems.

    Raises:
        CorpusError: no folder, labels or audio, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    labels = folder / "Labels" if (folder / "Labels").is_dir() else folder
    clips = _clips(folder)
    votes = _votes(labels / "labels_detailed.csv", collector)
    untold = dict.fromkeys(votes)
    unheard = dict.fromkeys(clips)
    left_out: Counter[str] = Counter()
    kept = None if test_sets is None else {name.casefold() for name in test_sets}
    for line, row in read_table(labels / "labels_consensus.csv", _CONSENSUS, collector.problems):
        name = row["file"]
        untold.pop(name, None)
        unheard.pop(name, None)
        split = _split(row["split"])
        if split == _TEST and kept is not None and row["split"].casefold() not in kept:
            left_out[row["split"]] += 1
            continue
        try:
            collector.take(_utterance(row, clips.get(name), votes.get(name), split, collector))
        except CorpusError as error:
            collector.problem(name or f"labels_consensus.csv:{line}", f"left out: {error}")
    for split_set, count in left_out.items():
        collector.problem(split_set, f"{count} rows left out, as asked")
    for name in untold:
        collector.problem(name, "raters in labels_detailed.csv, but no row in labels_consensus.csv")
    for name in unheard:
        collector.problem(clips[name], "no row in labels_consensus.csv")
    _note_transcripts(collector)
    collector.measure()
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _clips(folder: Path) -> dict[str, Path]:
    """Audio by file name, without a look into the files: there are hundreds of thousands."""
    audio = next((folder / name for name in _AUDIO if (folder / name).is_dir()), None)
    if audio is None:
        raise CorpusError(f"corpus {NAME}: neither of the folders {' and '.join(_AUDIO)} is in {folder}")
    return {path.name: path for path in sorted(audio.iterdir()) if path.suffix.lower() in SUFFIXES}


def _votes(path: Path, collector: Collector) -> dict[str, Counter[str]]:
    """Raters by what they chose first, for each file; nobody is counted twice."""
    votes: dict[str, Counter[str]] = {}
    seen: set[tuple[str, str]] = set()
    for line, name, rater, chosen in _ratings(path, collector):
        where = f"{path.name}:{line}"
        if not name or not chosen:
            collector.problem(where, f"left out: no {'emotion' if name else 'file name'}")
        elif rater and (name, rater) in seen:
            collector.problem(where, f"left out: {rater} has judged {name} already")
        else:
            seen.add((name, rater))
            votes.setdefault(name, Counter())[_PRIMARY.get(chosen.lower(), OTHER)] += 1
    return votes


def _ratings(path: Path, collector: Collector) -> Iterator[tuple[int, str, str, str]]:
    """Line, file, rater and primary emotion, from either form of the table."""
    rows = read_table(path, _DETAILED, collector.problems, optional=("rater",), either=("primary", "detail"))
    for line, row in rows:
        if row["detail"]:
            rater, _, rest = row["detail"].partition(";")
            yield line, row["file"], rater.strip(), rest.partition(";")[0].strip()
        else:
            yield line, row["file"], row["rater"], row["primary"]


def _utterance(
    row: Row, clip: Path | None, votes: Counter[str] | None, split: str | None, collector: Collector
) -> Utterance:
    if split is None:
        raise CorpusError(f"Split_Set {row['split']!r} is none of Train, Development and Test...")
    if clip is None:
        raise CorpusError("no audio file of this name")
    if votes is None:
        raise CorpusError("no rater in labels_detailed.csv")
    consensus = _CODES.get(row["class"].upper())
    if consensus is None:
        raise CorpusError(f"EmoClass {row['class']!r} is none of {' '.join(_CODES)}")
    ratings = tally({name: float(count) for name, count in votes.items()}, consensus)
    if ratings.ambiguous and consensus in MSP_NAMES:
        collector.problem(clip, f"the votes do not bear out {consensus}, the consensus: kept as ambiguous")
    identity = f"{NAME}/{clip.stem}"
    known = row["speaker"].casefold() not in _UNKNOWN
    gender = row["gender"].casefold()
    return Utterance(
        id=identity,
        corpus=NAME,
        audio=clip,
        text=_transcript(collector.folder, clip),
        language="en",
        target=ratings.target,
        speaker=f"{NAME}/{row['speaker']}" if known else identity,
        votes=ratings.votes,
        ambiguous=ratings.ambiguous,
        attributes=_attributes(row, clip, collector),
        gender=gender if gender in ("female", "male") else None,
        split=split,
    )


def _attributes(row: Row, clip: Path, collector: Collector) -> Attributes | None:
    try:
        return parse_attributes({name: row[name] for name in ("arousal", "valence", "dominance")})
    except CorpusError as error:
        collector.problem(clip, f"no attributes: {error}")
        return None


def _transcript(folder: Path, clip: Path) -> str | None:
    try:
        text = " ".join(read_text(folder / _TRANSCRIPTS / f"{clip.stem}.txt").split())
    except CorpusError:
        return None
    return text or None


def _note_transcripts(collector: Collector) -> None:
    silent = [u.id for u in collector.utterances.values() if u.text is None]
    if silent:
        collector.problem(
            _TRANSCRIPTS,
            f"{len(silent)} of {len(collector.utterances)} clips have no transcript, the first is {silent[0]}; ask for "
            "the corpus's Transcripts folder, or give your own with medusa corpora prepare --transcripts",
        )


def _split(written: str) -> str | None:
    return _TEST if written.casefold().startswith(_TEST) else _SPLITS.get(written.casefold())
