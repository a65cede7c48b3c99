from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.emotions import MSP8, LabelSet, soft_target
from tests.fakes.corpora import corpus_of, utterance
from trainer.corpora.manifest import Problem, no_majority
from trainer.errors import CorpusError

SEVEN = MSP8.without("contempt")


def voted(name: str, **votes: float):
    target = soft_target([votes.get(label, 0.0) for label in MSP8], MSP8)
    return replace(utterance(name), target=target, votes=votes, ambiguous=no_majority(votes))


def test_an_id_must_begin_with_its_corpus() -> None:
    with pytest.raises(CorpusError, match=r"made_up/\.\.\."):
        replace(utterance("a"), id="other/a")


def test_an_utterance_without_audio_and_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="neither audio nor text"):
        utterance("a", text=None)


def test_audio_alone_is_enough() -> None:
    assert utterance("a", audio=Path("a.wav"), text=None).text is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full(7, 1 / 7, np.float32), "shape"),
        (np.full(8, 0.25, np.float32), "sums to 2"),
        (np.array([2, -1, 0, 0, 0, 0, 0, 0], np.float32), "not a distribution"),
        (np.full(8, np.nan, np.float32), "not a distribution"),
    ],
)
def test_a_target_that_is_no_distribution_over_the_labels_is_refused(target: np.ndarray, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        replace(utterance("a"), target=target)


def test_the_consensus_is_the_strongest_class_unless_the_raters_disagree() -> None:
    assert voted("a", happy=3, sad=1).consensus == "happy"
    assert voted("b", happy=2, sad=2).consensus is None


def test_two_utterances_of_one_id_are_refused() -> None:
    with pytest.raises(CorpusError, match="made_up/a"):
        corpus_of(utterance("a"), utterance("a", label="sad"))


def test_projecting_renormalises_what_remains() -> None:
    projected = voted("a", happy=1, sad=1, contempt=2).project(SEVEN)
    assert projected is not None
    assert projected.labels == SEVEN
    np.testing.assert_allclose(projected.target, [0, 0.5, 0.5, 0, 0, 0, 0])


def test_an_utterance_whose_agreed_class_is_projected_away_becomes_ambiguous() -> None:
    agreed_on_contempt = voted("a", contempt=3, angry=1)
    assert agreed_on_contempt.consensus == "contempt"
    projected = agreed_on_contempt.project(SEVEN)
    assert projected is not None
    assert projected.ambiguous
    assert projected.consensus is None


def test_an_utterance_with_nothing_left_is_dropped_and_listed() -> None:
    corpus = corpus_of(utterance("kept"), utterance("lost", label="contempt")).project(SEVEN)
    assert [u.id for u in corpus.utterances] == ["made_up/kept"]
    assert corpus.labels == SEVEN
    assert [problem.where for problem in corpus.problems] == ["made_up/lost"]


def test_projecting_onto_other_labels_reorders_by_name() -> None:
    projected = voted("a", neutral=3, angry=1).project(LabelSet(("neutral", "angry")))
    assert projected is not None
    np.testing.assert_allclose(projected.target, [0.75, 0.25])


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=8, max_size=8).filter(any))
def test_projection_keeps_the_proportions_of_what_remains(votes: list[int]) -> None:
    before = replace(utterance("a"), target=soft_target(votes, MSP8))
    after = before.project(SEVEN)
    kept = np.delete(np.array(votes, dtype=np.float64), MSP8.index("contempt"))
    if kept.sum() == 0:
        assert after is None
    else:
        assert after is not None
        np.testing.assert_allclose(after.target, kept / kept.sum(), atol=1e-6)


def test_a_corpus_tells_its_speakers_and_how_much_audio_it_holds() -> None:
    corpus = corpus_of(utterance("a", duration_s=2.0), utterance("b", duration_s=3.5), utterance("c"))
    assert corpus.speakers == ("made_up/someone",)
    assert corpus.duration_s == 5.5


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem("a.wav", "left out: empty")) == "a.wav: left out: empty"
