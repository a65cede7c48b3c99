"""EmoBox: metadata, label maps and folds of 32 speech emotion corpora in 14 languages (Ma et al. 2024).

EmoBox brings no audio: each corpus is fetched from its authors and put where EmoBox's metadata says, into `downloads`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trainer.corpora.clips import Collector, one_hot, require_folder
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.ratings import known_class
from trainer.corpora.tables import read_text
from trainer.errors import CorpusError
from trainer.progress import ProgressFactory, no_progress

NAME: Final = "emobox"
LICENCE: Final = "MIT for the metadata; each corpus has its own licence"
CITATION: Final = (
    "Ma Z, Chen M, Zhang H, Zheng Z, Chen W, Li X, Ye J, Chen X, Hain T (2024). EmoBox: Multilingual Multi-corpus "
    "Speech Emotion Recognition Toolkit and Benchmark. Interspeech 2024. Cite the corpora too"
)

_METADATA: Final = "data"
_LABEL_MAP: Final = "label_map.json"
_SPEAKERS: Final = "data.seg.wrd.stm"
_SPLITS: Final = {"train": "train", "valid": "development", "test": "test"}
_LABELS: Final = {"calm": "neutral", "excited": "happy", "amused": "happy", "enthusiastic": "happy"}
"""Classes of its label maps that are no other spelling of one of ours, and yet the same by our other importers."""
_LANGUAGES: Final = {
    "aesdd": "el",
    "ased": "am",
    "cafe": "fr",
    "casia": "zh",
    "emodb": "de",
    "emovo": "it",
    "emozionalmente": "it",
    "m3ed": "zh",
    "mer2023": "zh",
    "mesd": "es",
    "oreau": "fr",
    "pavoque": "de",
    "polish": "pl",
    "resd": "ru",
    "shemo": "fa",
    "subesco": "bn",
    "turevdb": "tr",
    "urdu": "ur",
    "asvpesd": "mul",
    "esd": "mul",
}
"""Its own metadata say `en` of all; `mul` are several. Corpora that are not listed are English."""
_UNKNOWN: Final = frozenset({"", "unknown", "none", "nan"})
_SPEAKER: Final = re.compile(r"<id=(?P<key>.*),lang=[^,]*,spk=(?P<speaker>.*),emotion=[^>]*>")


def load_emobox(folder: Path, *, fold: int = 1, progress: ProgressFactory = no_progress) -> Corpus:
    """Reads EmoBox's metadata of all corpora whose audio is there, or of one.

    Args:
        folder: EmoBox's own, with `data` and `downloads`; or `data/CORPUS` in it for that corpus alone.
        fold: which of a corpus's official folds says what is for training and what for testing.
        progress: shows how far it is.

    Returns:
        Labels go through the corpus's `label_map.json`, then to ours; clips whose class is none of ours are left out
        and listed. Speakers are joined by key from `data.seg.wrd.stm`.

    Raises:
        CorpusError: no folder, no metadata in it, or nothing in it that can be used.
    """
    require_folder(folder, NAME)
    collector = Collector(NAME, folder, progress)
    for path in _metadata(folder):
        # Audio lies beside the folder that holds the metadata of all corpora.
        _read_dataset(path, path.parent.parent, fold, collector)
    collector.measure()
    return collector.corpus(licence=LICENCE, citation=CITATION)


def _metadata(folder: Path) -> list[Path]:
    """The folder of each corpus's metadata."""
    alone = folder.absolute()
    if (alone / f"{alone.name}.jsonl").is_file():
        return [alone]
    found = [path for path in sorted((folder / _METADATA).glob("*")) if (path / f"{path.name}.jsonl").is_file()]
    if not found:
        raise CorpusError(f"corpus {NAME}: neither {_METADATA}/CORPUS/CORPUS.jsonl nor {alone.name}.jsonl in {folder}")
    return found


def _read_dataset(path: Path, root: Path, fold: int, collector: Collector) -> None:
    name = path.name
    entries = list(_entries(path / f"{name}.jsonl", collector))
    labels = _label_map(path / _LABEL_MAP, collector)
    speakers = _speakers(path / _SPEAKERS, collector)
    splits = _splits(path, fold, {key for _, key, _ in entries}, collector)
    absent: list[Path] = []
    for where, key, entry in entries:
        try:
            clip, label = _clip(entry, root), _label(entry, labels)
        except CorpusError as error:
            collector.problem(where, f"left out: {error}")
            continue
        if not clip.is_file():
            absent.append(clip)
            continue
        identity, speaker = f"{NAME}/{key}", speakers.get(key)
        collector.take(
            Utterance(
                id=identity,
                corpus=NAME,
                audio=clip,
                text=None,
                language=_LANGUAGES.get(name, "en"),
                target=one_hot(label),
                speaker=f"{NAME}/{name}-{speaker}" if speaker else identity,
                split=splits.get(key),
            )
        )
    if absent:
        collector.problem(name, f"{len(absent)} of {len(entries)} clips are not there, the first is {absent[0]}")


def _entries(path: Path, collector: Collector) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where an entry stands, its key, and what it says."""
    for line, written in enumerate(read_text(path).split("\n"), start=1):
        if not written.strip():
            continue
        where = f"{path.name}:{line}"
        try:
            entry = json.loads(written)
        except json.JSONDecodeError as error:
            collector.problem(where, f"left out: not JSON ({error})")
            continue
        key = entry.get("key") if isinstance(entry, dict) else None
        if isinstance(key, str) and key.strip():
            yield where, key.strip(), entry
        else:
            collector.problem(where, "left out: not a JSON object with a key")


def _clip(entry: Mapping[str, Any], root: Path) -> Path:
    wav = entry.get("wav")
    if not isinstance(wav, str) or not wav:
        raise CorpusError("no wav")
    if entry.get("start_time") or "end_time" in entry:
        raise CorpusError(f"a part of {wav}: cut it out into a file of its own, and say so in wav")
    return root / wav


def _label(entry: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    written = str(entry.get("emo", ""))
    theirs = labels.get(written)
    if theirs is None:
        raise CorpusError(f"emo {written!r} is not in {_LABEL_MAP}")
    ours = _LABELS.get(theirs.lower()) or known_class(theirs)
    if ours is None:
        raise CorpusError(f"{theirs} is none of our classes")
    return ours


def _label_map(path: Path, collector: Collector) -> dict[str, str]:
    try:
        labels = json.loads(read_text(path))
    except (CorpusError, json.JSONDecodeError) as error:
        collector.problem(path.parent.name, f"no label map: {error}")
        return {}
    if not isinstance(labels, dict) or not all(isinstance(theirs, str) for theirs in labels.values()):
        raise CorpusError(f"{path}: not an object that maps labels to classes")
    return labels


def _speakers(path: Path, collector: Collector) -> dict[str, str]:
    try:
        found = (_SPEAKER.search(line) for line in read_text(path).splitlines())
    except CorpusError as error:
        collector.problem(
            path.parent.name, f"no speaker is known, so each clip counts as a speaker of its own: {error}"
        )
        return {}
    return {
        said["key"]: said["speaker"]
        for said in found
        if said is not None and said["speaker"].casefold() not in _UNKNOWN
    }


def _splits(path: Path, fold: int, keys: set[str], collector: Collector) -> dict[str, str]:
    splits: dict[str, str] = {}
    for theirs, ours in _SPLITS.items():
        part = path / f"fold_{fold}" / f"{path.name}_{theirs}_fold_{fold}.jsonl"
        if not part.is_file():
            # Most corpora have no part for validation: EmoBox then draws one from training.
            if theirs != "valid":
                collector.problem(path.name, f"no fold {fold}: {part.name} is missing")
            continue
        for where, key, _ in _entries(part, collector):
            if key not in keys:
                collector.problem(where, f"{key} is not in {path.name}.jsonl")
            elif splits.setdefault(key, ours) != ours:
                collector.problem(where, f"{key} is in {splits[key]} already")
    unsplit = len(keys - splits.keys())
    if splits and unsplit:
        collector.problem(path.name, f"{unsplit} clips are in no part of fold {fold}")
    return splits
