from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.corpora import write_tone
from trainer.corpora.emobox import load_emobox
from trainer.corpora.manifest import Corpus
from trainer.errors import CorpusError


def entry(dataset: str, name: str, emo: str, **more: Any) -> dict[str, Any]:
    return {
        "key": f"{dataset}-{name}",
        "dataset": dataset,
        "wav": f"downloads/{dataset}/{name}.wav",
        "type": "raw",
        "sample_rate": 16000,
        "num_frame": 1600.0,
        "task": "category",
        "length": 0.1,
        "emo": emo,
        "channel": 1,
        **more,
    }


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in entries), encoding="utf-8")


def write_dataset(
    folder: Path, dataset: str, entries: list[dict[str, Any]], labels: dict[str, str], *, speakers: bool = True
) -> Path:
    """Metadata of one corpus, the last of its clips for testing, and its audio."""
    metadata = folder / "data" / dataset
    write_lines(metadata / f"{dataset}.jsonl", entries)
    write_lines(metadata / "fold_1" / f"{dataset}_train_fold_1.jsonl", entries[:-1])
    write_lines(metadata / "fold_1" / f"{dataset}_test_fold_1.jsonl", entries[-1:])
    (metadata / "label_map.json").write_text(json.dumps(labels), encoding="utf-8")
    if speakers:
        lines = [f"{e['key']} 1 7 0 0.1 <id={e['key']},lang=en,spk=7,emotion={e['emo']}> {e['emo']}\n" for e in entries]
        (metadata / "data.seg.wrd.stm").write_text("".join(lines), encoding="utf-8")
    for each in entries:
        write_tone(folder / each["wav"])
    return metadata


def problems_at(corpus: Corpus, where: str) -> list[str]:
    return [problem.what for problem in corpus.problems if problem.where == where]


GREEK = [entry("aesdd", "a01", "a"), entry("aesdd", "h01", "h")]
GREEK_LABELS = {"a": "Angry", "h": "Happy"}


def test_a_clip_has_class_speaker_language_and_the_split_of_the_fold(tmp_path: Path) -> None:
    write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS)
    corpus = load_emobox(tmp_path)
    assert [(u.id, u.consensus, u.speaker, u.language, u.split) for u in corpus.utterances] == [
        ("emobox/aesdd-a01", "angry", "emobox/aesdd-7", "el", "train"),
        ("emobox/aesdd-h01", "happy", "emobox/aesdd-7", "el", "test"),
    ]
    assert corpus.utterances[0].duration_s == pytest.approx(0.1)
    assert corpus.problems == ()


def test_several_corpora_are_read_together_and_one_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS)
    savee = write_dataset(
        tmp_path, "savee", [entry("savee", "x", "sa"), entry("savee", "y", "n")], {"sa": "Sad", "n": "Neutral"}
    )
    assert [u.id for u in load_emobox(tmp_path).utterances] == [
        *("emobox/aesdd-a01", "emobox/aesdd-h01", "emobox/savee-x", "emobox/savee-y")
    ]
    assert [u.language for u in load_emobox(savee).utterances] == ["en", "en"]


def test_classes_go_through_the_label_map_and_those_that_are_none_of_ours_are_listed(tmp_path: Path) -> None:
    entries = [entry("iemocap", str(n), emo) for n, emo in enumerate(("exc", "e", "c", "s", "x", "q"))]
    labels = {"exc": "Happy", "e": "Excited", "c": "Calm", "s": "Sarcastic", "x": "No-agreement"}
    write_dataset(tmp_path, "iemocap", entries, labels)
    corpus = load_emobox(tmp_path)
    assert [u.consensus for u in corpus.utterances] == ["happy", "happy", "neutral"]
    assert problems_at(corpus, "iemocap.jsonl:4") == ["left out: Sarcastic is none of our classes"]
    assert problems_at(corpus, "iemocap.jsonl:5") == ["left out: No-agreement is none of our classes"]
    assert problems_at(corpus, "iemocap.jsonl:6") == ["left out: emo 'q' is not in label_map.json"]


def test_a_fold_may_be_chosen_and_what_does_not_match_it_is_listed(tmp_path: Path) -> None:
    metadata = write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS)
    write_lines(metadata / "fold_2" / "aesdd_train_fold_2.jsonl", [GREEK[1], entry("aesdd", "stranger", "a")])
    write_lines(metadata / "fold_2" / "aesdd_valid_fold_2.jsonl", [GREEK[1]])
    corpus = load_emobox(tmp_path, fold=2)
    assert [u.split for u in corpus.utterances] == [None, "train"]
    assert problems_at(corpus, "aesdd_train_fold_2.jsonl:2") == ["aesdd-stranger is not in aesdd.jsonl"]
    assert problems_at(corpus, "aesdd_valid_fold_2.jsonl:1") == ["aesdd-h01 is in train already"]
    assert problems_at(corpus, "aesdd") == [
        "no fold 2: aesdd_test_fold_2.jsonl is missing",
        "1 clips are in no part of fold 2",
    ]


def test_audio_that_was_not_fetched_is_counted_for_each_corpus(tmp_path: Path) -> None:
    write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS)
    (tmp_path / "downloads" / "aesdd" / "h01.wav").unlink()
    corpus = load_emobox(tmp_path)
    assert len(corpus) == 1
    (told,) = problems_at(corpus, "aesdd")
    assert told.startswith("1 of 2 clips are not there")
    assert told.endswith("downloads/aesdd/h01.wav")


def test_without_speakers_each_clip_is_one_of_its_own(tmp_path: Path) -> None:
    write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS, speakers=False)
    corpus = load_emobox(tmp_path)
    assert [u.speaker for u in corpus.utterances] == ["emobox/aesdd-a01", "emobox/aesdd-h01"]
    assert "no speaker is known" in problems_at(corpus, "aesdd")[0]


def test_entries_that_are_wrong_repeated_or_parts_of_a_clip_are_listed(tmp_path: Path) -> None:
    part = entry("aesdd", "part", "a", start_time=1.5, end_time=2.5)
    metadata = write_dataset(
        tmp_path, "aesdd", [*GREEK, part, GREEK[0], {"emo": "a", "wav": "downloads/x.wav", "key": " "}], GREEK_LABELS
    )
    with (metadata / "aesdd.jsonl").open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    corpus = load_emobox(tmp_path)
    assert len(corpus) == 2
    assert "a part of" in problems_at(corpus, "aesdd.jsonl:3")[0]
    assert problems_at(corpus, "emobox/aesdd-a01") == ["left out: this id stands twice"]
    assert problems_at(corpus, "aesdd.jsonl:5") == ["left out: not a JSON object with a key"]
    assert "not JSON" in problems_at(corpus, "aesdd.jsonl:6")[0]


def test_a_damaged_clip_of_a_corpus_read_alone_is_listed_by_its_path(tmp_path: Path) -> None:
    metadata = write_dataset(tmp_path, "aesdd", GREEK, GREEK_LABELS)
    broken = tmp_path / "downloads" / "aesdd" / "h01.wav"
    broken.write_bytes(b"no audio")
    assert problems_at(load_emobox(metadata), broken.as_posix())[0].startswith("left out: cannot be opened")


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"data/CORPUS/CORPUS\.jsonl"):
        load_emobox(tmp_path)
