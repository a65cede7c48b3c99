"""MELD: dialogue of the television series Friends, with the emotion of each utterance (Poria et al. 2019)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from models.audio_files import SUFFIXES
from trainer.corpora.clips import Collector, one_hot, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.tables import Row, read_table
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "meld"
LICENCE: Final = "GPL-3.0, clips of a television series (not verified)"
CITATION: Final = (
    "Poria S, Hazarika D, Majumder N, Naik G, Cambria E, Mihalcea R (2019). MELD: A Multimodal Multi-Party Dataset for "
    "Emotion Recognition in Conversations. ACL 2019"
)

_LABELS: Final = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprise",
}
_SPLITS: Final = {"train": "train", "dev": "development", "test": "test"}
_COLUMNS: Final = {
    "utterance": ("Utterance",),
    "speaker": ("Speaker",),
    "emotion": ("Emotion",),
    "dialogue": ("Dialogue_ID",),
    "number": ("Utterance_ID",),
    "begin": ("StartTime",),
    "end": ("EndTime",),
}
_VIDEO: Final = frozenset({".mp4", ".mkv", ".avi"})
_CLIP: Final = re.compile(r"dia(?P<dialogue>\d+)_utt(?P<number>\d+)")
_TIME: Final = re.compile(r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d+)?)")
_CUT_TOLERANCE_S: Final = 10.0
"""Some clips were cut wrongly and last minutes (declare-lab/MELD, issues 9 and 20)."""
# The tables were once in Windows' code page and not converted: its quotation marks stand in them as control characters.
_CONTROLS: Final = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}


def load_meld(folder: Path, *, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads the official distribution, as video or with the audio taken out of it.

    Args:
        folder: holds, at any depth, `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`, and clips named
            as `dia0_utt0.mp4` or `.wav` in folders with `train`, `dev` or `test` in their name.
        progress: shows how far it is.

    Returns:
        Speakers are characters, and are heard in all splits. Clips that are missing, broken, or much longer than their
        row says are left out and listed, as are files that no row tells of.

    Raises:
        CorpusError: no folder, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    clips = _clips(collector)
    spans_s: dict[str, float] = {}
    for split in _SPLITS:
        table = next(iter(sorted(folder.rglob(f"{split}_sent_emo.csv"))), None)
        if table is None:
            collector.problem(f"{split}_sent_emo.csv", "missing")
            continue
        for line, row in read_table(table, _COLUMNS, collector.problems, optional=("begin", "end")):
            name = f"dia{row['dialogue']}_utt{row['number']}"
            clip = clips.pop((split, name), None)
            try:
                utterance = _utterance(row, split, name, clip)
            except CorpusError as error:
                collector.problem(f"{table.name}:{line}", f"left out: {error}")
                continue
            collector.take(utterance)
            span_s = _span_s(row)
            if span_s is not None:
                spans_s[utterance.id] = span_s
    for clip in clips.values():
        collector.problem(clip, "left out: no row tells of it")
    collector.measure()
    for utterance in list(collector.utterances.values()):
        span_s, duration_s = spans_s.get(utterance.id), utterance.duration_s
        if span_s is not None and duration_s is not None and duration_s > span_s + _CUT_TOLERANCE_S:
            collector.leave_out(utterance, f"cut wrongly: it lasts {duration_s:.1f} s, its row says {span_s:.1f} s")
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _clips(collector: Collector) -> dict[tuple[str, str], Path]:
    """Clips by split and name; where audio and video of the same clip are here, the audio."""
    clips: dict[tuple[str, str], Path] = {}
    doubled = 0
    for path in sorted(collector.folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES | _VIDEO or path.name.startswith("._"):
            continue
        split = _split_of(path.relative_to(collector.folder))
        if split is None or _CLIP.fullmatch(path.stem) is None:
            collector.problem(path, "left out: not a clip such as dia0_utt0 in a folder of train, dev or test")
            continue
        known = clips.setdefault((split, path.stem), path)
        if known != path:
            doubled += 1
            if known.suffix.lower() in _VIDEO and suffix in SUFFIXES:
                clips[split, path.stem] = path
    if doubled:
        collector.problem(".", f"{doubled} clips are here twice, as audio and video or in two folders: one is used")
    return clips


def _split_of(path: Path) -> str | None:
    """The split that the nearest folder names."""
    for parent in path.parents:
        named = [split for split in _SPLITS if split in parent.name.lower()]
        if len(named) == 1:
            return named[0]
    return None


def _utterance(row: Row, split: str, name: str, clip: Path | None) -> Utterance:
    label = _LABELS.get(row["emotion"].lower())
    if label is None:
        raise CorpusError(f"emotion {row['emotion']!r} is none of {', '.join(_LABELS)}")
    if clip is None:
        raise CorpusError(f"no clip {name} in a folder of {split}")
    speaker = row["speaker"].translate(_CONTROLS)
    identity = f"{NAME}/{split}-{name}"
    return Utterance(
        id=identity,
        corpus=NAME,
        audio=clip,
        text=row["utterance"].translate(_CONTROLS) or None,
        language="en",
        target=one_hot(label),
        speaker=f"{NAME}/{speaker}" if speaker else identity,
        split=_SPLITS[split],
    )


def _span_s(row: Row) -> float | None:
    begin, end = _TIME.fullmatch(row["begin"]), _TIME.fullmatch(row["end"])
    return None if begin is None or end is None else _seconds(end) - _seconds(begin)


def _seconds(time: re.Match[str]) -> float:
    return 3600 * int(time["hours"]) + 60 * int(time["minutes"]) + float(time["seconds"].replace(",", "."))
