from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.emotions import MSP8
from trainer.corpora.goemotions import EKMAN, LABELS, load_goemotions
from trainer.errors import CorpusError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.tsv").write_bytes(text.encode())
    return folder


def test_all_28_labels_are_mapped_once() -> None:
    mapped = [label for group in EKMAN.values() for label in group]
    assert len(LABELS) == 28
    assert sorted(mapped) == sorted(LABELS)
    assert set(EKMAN) == set(MSP8) - {"contempt"}


def test_comments_come_with_class_split_and_id(tmp_path: Path) -> None:
    corpus = load_goemotions(
        write(tmp_path, train="So glad!\t17\taaa\n", dev="Leave me alone\t3\tbbb\n", test="ok\t27\tccc\n")
    )
    assert [(u.id, u.text, u.consensus, u.split) for u in corpus.utterances] == [
        ("goemotions/aaa", "So glad!", "happy", "train"),
        ("goemotions/bbb", "Leave me alone", "angry", "development"),
        ("goemotions/ccc", "ok", "neutral", "test"),
    ]
    assert all(u.audio is None for u in corpus.utterances)
    assert corpus.problems == ()


def test_several_labels_become_a_soft_target(tmp_path: Path) -> None:
    (comment,) = load_goemotions(write(tmp_path, train="x\t17,18,25\ta\n")).utterances
    expected = np.zeros(8)
    expected[MSP8.index("happy")], expected[MSP8.index("sad")] = 2 / 3, 1 / 3
    np.testing.assert_allclose(comment.target, expected, atol=1e-6)
    assert comment.votes == {"happy": 2.0, "sad": 1.0}
    assert not comment.ambiguous


def test_labels_that_balance_each_other_are_ambiguous(tmp_path: Path) -> None:
    (comment,) = load_goemotions(write(tmp_path, train="x\t17,25\ta\n")).utterances
    assert comment.ambiguous


def test_quotes_and_line_separators_inside_a_comment_stay_there(tmp_path: Path) -> None:
    text = 'He said "no\u2028way'
    (comment,) = load_goemotions(write(tmp_path, train=f"{text}\t26\ta\n")).utterances
    assert comment.text == text


def test_every_bad_line_is_listed_by_file_and_number(tmp_path: Path) -> None:
    lines = [
        "fine\t0\ta",
        "two fields\t0",
        "no number\tx\tb",
        "beyond\t28\tc",
        "negative\t-1\td",
        "\t0\te",
        "again\t0\ta",
    ]
    corpus = load_goemotions(write(tmp_path, train="\n".join(lines) + "\n", dev="ok\t1\tz\r\n", test="ok\t1\ty\n"))
    assert [u.id for u in corpus.utterances] == ["goemotions/a", "goemotions/z", "goemotions/y"]
    assert [problem.where for problem in corpus.problems] == [f"train.tsv:{line}" for line in range(2, 8)]


def test_a_missing_split_is_listed(tmp_path: Path) -> None:
    corpus = load_goemotions(write(tmp_path, train="fine\t0\ta\n"))
    assert [problem.where for problem in corpus.problems] == ["dev.tsv", "test.tsv"]


def test_a_folder_without_a_usable_comment_says_why(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"train\.tsv: missing"):
        load_goemotions(tmp_path)
    with pytest.raises(CorpusError, match="no folder"):
        load_goemotions(tmp_path / "nowhere")
