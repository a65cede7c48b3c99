from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.emotions import Attributes
from tests.fakes.corpora import corpus_of, utterance
from trainer.corpora.manifest import Corpus, Problem
from trainer.corpora.picture import corpus_picture
from trainer.corpora.ratings import tally
from trainer.corpora.summary import entropy_bits, summarise

PNG = b"\x89PNG\r\n\x1a\n"


def voted(name: str, **votes: float):
    rated = tally(votes)
    return replace(utterance(name), target=rated.target, votes=rated.votes, ambiguous=rated.ambiguous)


def test_classes_are_counted_softly_and_where_raters_agree() -> None:
    summary = summarise(corpus_of(voted("a", happy=3, sad=1), voted("b", happy=1, sad=1), voted("c", sad=2)))
    assert {k: v for k, v in summary.soft_mass.items() if v} == {"happy": 1.25, "sad": 1.75}
    assert {k: v for k, v in summary.consensus.items() if v} == {"happy": 1, "sad": 1}
    assert (summary.utterances, summary.ambiguous) == (3, 1)


def test_speakers_durations_splits_and_what_is_missing_are_counted() -> None:
    corpus = corpus_of(
        replace(utterance("a", duration_s=1.0), split="train", gender="female"),
        replace(utterance("b", duration_s=3.0), split="train", attributes=Attributes(1, 2, 3)),
        replace(utterance("c"), speaker="made_up/c"),
    )
    summary = summarise(replace(corpus, problems=(Problem("x", "y"),)))
    assert (summary.speakers, summary.audio_h, summary.durations_s["median"]) == (2, 4 / 3600, 2.0)
    assert summary.splits == {"train": 2, "unstated": 1}
    assert summary.genders == {"female": 1, "unstated": 2}
    assert (summary.with_attributes, summary.without_transcript, summary.problems) == (1, 0, 1)


def test_entropy_says_how_far_raters_are_apart() -> None:
    assert entropy_bits([4]) == 0.0
    assert entropy_bits([2, 0, 2]) == 1.0
    assert entropy_bits([1, 1, 1, 1]) == pytest.approx(2.0)
    assert summarise(corpus_of(voted("a", happy=1, other=1), voted("b", sad=2))).vote_entropy_bits == 0.5
    assert summarise(corpus_of(utterance("a"))).vote_entropy_bits is None


def test_the_figures_are_json() -> None:
    written = json.loads(json.dumps(summarise(corpus_of(voted("a", happy=1))).as_mapping()))
    assert written["soft_mass"]["happy"] == 1.0


@pytest.mark.parametrize(
    "corpus",
    [
        corpus_of(utterance("a", duration_s=1.0), voted("b", happy=1, sad=1)),
        corpus_of(utterance("text alone")),
        Corpus("nothing", "", "", ()),
    ],
)
def test_any_corpus_has_a_picture(corpus: Corpus) -> None:
    assert corpus_picture(corpus, summarise(corpus)).startswith(PNG)
