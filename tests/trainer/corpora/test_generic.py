from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.emotions import MSP8, Attributes
from tests.fakes.corpora import write_tone
from trainer.corpora.generic import load_manifest
from trainer.corpora.manifest import Corpus
from trainer.corpora.ratings import parse_ratings
from trainer.errors import CorpusError

GOOD = {"id": "good", "transcript": "hello", "label": "happy"}


def jsonl(folder: Path, *rows: Any) -> Corpus:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_manifest(folder / "manifest.jsonl", name="mine")


def comma_separated(folder: Path, text: str) -> Corpus:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return load_manifest(folder / "manifest.csv", name="mine")


def distribution(**shares: float) -> list[float]:
    return [shares.get(label, 0.0) for label in MSP8]


class TestJsonLines:
    def test_a_full_row(self, tmp_path: Path) -> None:
        write_tone(tmp_path / "clips" / "a.wav", seconds=0.2)
        row = {
            "id": "a",
            "audio": "clips/a.wav",
            "transcript": "hello",
            "votes": {"happy": 3, "sad": 1},
            "attributes": {"arousal": 5, "valence": 6.5, "dominance": 4},
            "speaker": "anna",
            "gender": "Female",
            "split": "dev",
            "language": "de",
        }
        (read,) = jsonl(tmp_path, row).utterances
        assert (read.id, read.speaker, read.gender, read.split, read.language) == (
            "mine/a",
            "mine/anna",
            "female",
            "development",
            "de",
        )
        assert read.audio == tmp_path / "clips" / "a.wav"
        assert read.duration_s == pytest.approx(0.2)
        assert read.votes == {"happy": 3, "sad": 1}
        assert read.attributes == Attributes(arousal=5, valence=6.5, dominance=4)
        np.testing.assert_allclose(read.target, distribution(happy=0.75, sad=0.25))

    def test_the_least_a_row_needs(self, tmp_path: Path) -> None:
        (read,) = jsonl(tmp_path, GOOD).utterances
        assert (read.consensus, read.speaker, read.language, read.attributes) == ("happy", "mine/good", "en", None)

    def test_null_and_empty_values_count_as_left_out(self, tmp_path: Path) -> None:
        (read,) = jsonl(tmp_path, {**GOOD, "audio": None, "speaker": "", "votes": None}).utterances
        assert read.audio is None
        assert read.speaker == "mine/good"

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("{not json", "not JSON"),
            ([1, 2], "not a JSON object"),
            ({"transcript": "x", "label": "sad"}, "no id"),
            ({"id": "b", "label": "sad"}, "neither audio nor transcript"),
            ({"id": "b", "transcript": "x"}, "neither target nor votes nor label"),
            ({"id": "b", "audio": "gone.wav", "label": "sad"}, r"no audio file .*gone\.wav"),
            ({"id": "b", "audio": "broken.wav", "label": "sad"}, r"broken\.wav"),
            ({"id": "b", "transcript": "x", "label": "bored"}, "unknown class 'bored'"),
            ({"id": "b", "transcript": "x", "label": 3}, "label must be text"),
            ({"id": "b", "transcript": "x", "votes": {"sad": -1}}, "negative"),
            ({"id": "b", "transcript": "x", "votes": {"sad": "many"}}, "finite number"),
            ({"id": "b", "transcript": "x", "votes": {"sad": 0}}, "no annotator"),
            ({"id": "b", "transcript": "x", "votes": {"other": 3}}, "no annotator"),
            ({"id": "b", "transcript": "x", "votes": [1, 2]}, "number by class"),
            ({"id": "b", "transcript": "x", "target": {"sad": 1}, "votes": {"sad": 1}}, "give one of them"),
            ({"id": "b", "transcript": "x", "label": "no_agreement"}, "alone is no target"),
            ({"id": "b", "transcript": "x", "label": "sad", "votes": {"sad": 1, "happy": 2}}, "not the strongest"),
            ({"id": "b", "transcript": "x", "label": "sad", "arousal": 3}, "all or none"),
            (
                {"id": "b", "transcript": "x", "label": "sad", "arousal": 3, "valence": 8, "dominance": 2},
                "valence 8 lies outside 1 to 7",
            ),
            ({"id": "b", "transcript": "x", "label": "sad", "split": "holdout"}, "split 'holdout' is none of"),
            ({"id": "good", "transcript": "x", "label": "sad"}, "stands in line 1 already"),
        ],
    )
    def test_a_bad_row_is_listed_with_its_line_and_the_others_stand(
        self, tmp_path: Path, row: Any, message: str
    ) -> None:
        (tmp_path / "broken.wav").write_text("no audio")
        corpus = jsonl(tmp_path, GOOD, row, {**GOOD, "id": "also good"})
        assert [u.id for u in corpus.utterances] == ["mine/good", "mine/also good"]
        (problem,) = corpus.problems
        assert problem.where == "manifest.jsonl:2"
        assert problem.what.startswith("left out: ")
        assert re.search(message, problem.what)

    def test_a_key_nobody_reads_is_mentioned_once(self, tmp_path: Path) -> None:
        corpus = jsonl(tmp_path, GOOD, {**GOOD, "id": "b", "mood": 1}, {**GOOD, "id": "c", "mood": 2})
        assert len(corpus) == 3
        (problem,) = corpus.problems
        assert problem.where == "manifest.jsonl:2"
        assert "'mood'" in problem.what


class TestCsv:
    def test_targets_and_votes_may_have_a_column_a_class(self, tmp_path: Path) -> None:
        corpus = comma_separated(
            tmp_path,
            'id,transcript,target_angry,target_sad,votes_happy,votes_other\na,"well, no",0.5,1.5,,\nb,yes,,,1,2\n',
        )
        first, second = corpus.utterances
        np.testing.assert_allclose(first.target, distribution(angry=0.25, sad=0.75))
        assert first.text == "well, no"
        assert second.ambiguous
        np.testing.assert_allclose(second.target, distribution(happy=1.0))

    def test_targets_and_votes_may_be_json_in_a_cell(self, tmp_path: Path) -> None:
        (read,) = comma_separated(tmp_path, 'id,transcript,votes\na,x,"{""sad"": 2, ""fear"": 2}"\n').utterances
        np.testing.assert_allclose(read.target, distribution(sad=0.5, fear=0.5))
        assert read.ambiguous

    def test_attributes_have_a_column_each(self, tmp_path: Path) -> None:
        (read,) = comma_separated(
            tmp_path, "id,transcript,label,arousal,valence,dominance\na,x,sad,2,2.5,3\n"
        ).utterances
        assert read.attributes == Attributes(2, 2.5, 3)

    def test_lines_are_counted_through_quoted_line_breaks(self, tmp_path: Path) -> None:
        corpus = comma_separated(tmp_path, 'id,transcript,label\na,"two\nlines",sad\nb,x,bored\n\nc,x\nd,y,happy\n')
        assert [u.id for u in corpus.utterances] == ["mine/a", "mine/d"]
        assert [problem.where for problem in corpus.problems] == ["manifest.csv:4", "manifest.csv:6"]

    def test_both_forms_of_the_same_column_are_a_contradiction(self, tmp_path: Path) -> None:
        corpus = comma_separated(
            tmp_path, 'id,transcript,label,votes_sad,votes\na,x,sad,1,"{""sad"": 1}"\nb,x,sad,1,\n'
        )
        assert [u.id for u in corpus.utterances] == ["mine/b"]
        assert corpus.problems[0].where == "manifest.csv:2"

    def test_what_follows_an_unclosed_quote_is_listed(self, tmp_path: Path) -> None:
        corpus = comma_separated(tmp_path, 'id,transcript,label\na,x,sad\nb,"never closed,sad\nc,x,sad\n')
        assert [u.id for u in corpus.utterances] == ["mine/a"]
        assert corpus.problems[0].where == "manifest.csv:3"
        assert "all after it" in corpus.problems[0].what

    @pytest.mark.parametrize("text", ["", "audio,label\na.wav,sad\n", "id,label,label\na,sad,sad\n"])
    def test_a_header_that_cannot_be_right_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(CorpusError, match=r"manifest\.csv:1"):
            comma_separated(tmp_path, text)


def test_a_manifest_whose_every_row_is_bad_says_what_is_wrong_first(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"manifest\.jsonl:1: left out: no id"):
        jsonl(tmp_path, {"label": "sad"})


def test_a_manifest_that_is_missing_not_text_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no manifest"):
        load_manifest(tmp_path / "manifest.csv", name="mine")
    (tmp_path / "manifest.csv").write_bytes(b"id\n\xff\xfe")
    with pytest.raises(CorpusError, match="UTF-8"):
        load_manifest(tmp_path / "manifest.csv", name="mine")
    (tmp_path / "manifest.xls").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"\.csv or a \.jsonl"):
        load_manifest(tmp_path / "manifest.xls", name="mine")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*MSP8, "other"]), st.integers(0, 9), min_size=1))
def test_any_votes_give_a_distribution_or_an_error(votes: dict[str, int]) -> None:
    ours = sum(count for label, count in votes.items() if label != "other")
    if ours == 0:
        with pytest.raises(CorpusError):
            parse_ratings(None, votes, None)
        return
    ratings = parse_ratings(None, votes, None)
    assert ratings.target.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(ratings.target * ours, [votes.get(label, 0) for label in MSP8], atol=1e-5)
    top = max(votes.values())
    winners = [label for label, count in votes.items() if count == top]
    assert ratings.ambiguous == (len(winners) > 1 or winners == ["other"])
