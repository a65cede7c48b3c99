from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.emotions import MSP8, Attributes
from tests.fakes.corpora import corpus_of, utterance, write_tone
from trainer.corpora.manifest import Corpus, Utterance
from trainer.corpora.prepared import load_prepared, write_prepared
from trainer.corpora.ratings import Ratings, parse_ratings, tally
from trainer.errors import CorpusError

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = WORDS.filter(lambda name: name == name.strip())
RATED = st.floats(1, 7)


def told(one: Utterance) -> tuple[object, ...]:
    """Everything about an utterance, in a form that compares."""
    audio = None if one.audio is None else one.audio.resolve()
    votes = None if one.votes is None else dict(one.votes)
    stated = (one.id, one.corpus, audio, one.text, one.language, one.speaker, one.labels, votes, one.ambiguous)
    return (*stated, one.attributes, one.gender, one.split, one.duration_s, one.target.tobytes(), one.target.dtype)


@st.composite
def ratings(draw: st.DrawFn) -> Ratings:
    """Votes, a soft target, or one class."""
    weights = st.floats(0, 9, allow_subnormal=False) | st.integers(0, 9).map(float)
    drawn = draw(st.dictionaries(st.sampled_from([*MSP8, "other"]), weights, min_size=1))
    ours = {label: weight for label, weight in drawn.items() if label != "other"}
    if sum(ours.values()) <= 1e-6:
        return parse_ratings(None, None, draw(st.sampled_from(list(MSP8))))
    if draw(st.booleans()):
        return tally(drawn, draw(st.sampled_from([None, "no_agreement", "other", *MSP8])))
    return parse_ratings(ours, None, draw(st.sampled_from([None, "no_agreement"])))


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    rated, name = draw(ratings()), draw(NAMES)
    with_audio = draw(st.booleans())
    return Utterance(
        id=f"made_up/{name}",
        corpus="made_up",
        audio=Path("clip.wav") if with_audio else None,
        text=draw(st.none() | WORDS) if with_audio else draw(WORDS),
        language=draw(st.sampled_from(["en", "da", "mul"])),
        target=rated.target,
        speaker=f"made_up/{draw(NAMES | st.just(name))}",
        votes=rated.votes,
        ambiguous=rated.ambiguous,
        attributes=draw(st.none() | st.builds(Attributes, RATED, RATED, RATED)),
        gender=draw(st.sampled_from([None, "female", "male"])),
        split=draw(st.sampled_from([None, "train", "development", "test"])),
        duration_s=draw(st.floats(0.01, 1e4)) if with_audio else None,
    )


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(utterances(), min_size=1, max_size=4, unique_by=lambda u: u.id))
def test_whatever_is_written_is_read_back_to_the_bit(tmp_path: Path, written: list[Utterance]) -> None:
    clip = tmp_path / "sound" / "clip.wav"
    if not clip.exists():
        write_tone(clip)
    placed = [u if u.audio is None else replace(u, audio=clip) for u in written]
    corpus = corpus_of(*placed)

    write_prepared(corpus, tmp_path / "made_up")
    read = load_prepared("made_up", tmp_path / "made_up")

    assert [told(u) for u in read.utterances] == [told(u) for u in corpus.utterances]
    assert (read.licence, read.citation, read.problems) == (corpus.licence, corpus.citation, ())


@pytest.mark.parametrize("how", ["target", "votes"])
def test_a_lead_too_small_for_what_is_kept_is_no_agreement(how: str, tmp_path: Path) -> None:
    nearly_tied = {"angry": 1.0, "sad": 1.0 + 2**-40}
    rated = parse_ratings(nearly_tied, None, None) if how == "target" else tally(nearly_tied)
    assert rated.ambiguous
    one = replace(utterance("close"), target=rated.target, votes=rated.votes, ambiguous=rated.ambiguous)

    write_prepared(corpus_of(one), tmp_path)

    assert [told(u) for u in load_prepared("made_up", tmp_path).utterances] == [told(one)]


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def test_clips_among_the_corpora_are_told_by_their_way_and_all_others_by_their_full_path(tmp_path: Path) -> None:
    corpora = tmp_path / "corpora"
    within, beside = write_tone(corpora / "calls" / "wav" / "a.wav"), write_tone(corpora / "raw" / "b.wav")
    elsewhere = write_tone(tmp_path / "downloads" / "c.wav")
    clips = {"a": within, "b": beside, "c": elsewhere}
    write_prepared(corpus_of(*(utterance(name, audio=path) for name, path in clips.items())), corpora / "calls")
    assert [row["audio"] for row in rows_of(corpora / "calls")] == ["wav/a.wav", "../raw/b.wav", elsewhere.as_posix()]


def test_the_corpora_may_be_moved_together(tmp_path: Path) -> None:
    clip = write_tone(tmp_path / "corpora" / "raw" / "b.wav")
    write_prepared(corpus_of(utterance("b", audio=clip)), tmp_path / "corpora" / "calls")
    (tmp_path / "corpora").rename(tmp_path / "moved")
    (read,) = load_prepared("calls", tmp_path / "moved" / "calls").utterances
    assert read.audio is not None
    assert read.audio.resolve() == tmp_path / "moved" / "raw" / "b.wav"


def test_clips_whose_duration_is_told_are_not_opened(tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"no audio")
    write_prepared(corpus_of(utterance("a", audio=clip, duration_s=2.5)), tmp_path / "calls")
    assert load_prepared("calls", tmp_path / "calls").utterances[0].duration_s == 2.5


@pytest.mark.parametrize("duration_s", [0, -1, "long", float("nan")])
def test_a_duration_that_is_none_is_listed(tmp_path: Path, duration_s: object) -> None:
    write_tone(tmp_path / "a.wav")
    rows = [
        {"id": "a", "audio": "a.wav", "label": "sad", "duration_s": duration_s},
        {"id": "b", "transcript": "x", "label": "sad"},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (problem,) = load_prepared("calls", tmp_path).problems
    assert "duration_s" in problem.what


def test_a_corpus_of_several_languages_is_described_by_the_commonest(tmp_path: Path) -> None:
    languages = ("da", "mul", "da", "en")
    corpus = corpus_of(*(utterance(str(n), language=language) for n, language in enumerate(languages)))
    write_prepared(corpus, tmp_path / "x")
    assert 'language = "da"' in (tmp_path / "x" / "corpus.toml").read_text(encoding="utf-8")
    assert [u.language for u in load_prepared("x", tmp_path / "x").utterances] == list(languages)


def test_what_a_manifest_cannot_tell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither begin nor end with a space"):
        write_prepared(corpus_of(replace(utterance("a"), id="made_up/a ")), tmp_path / "x")
    with pytest.raises(CorpusError, match="must begin with the corpus's name"):
        write_prepared(corpus_of(replace(utterance("a"), speaker="somebody")), tmp_path / "x")


def test_a_manifest_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        write_prepared(corpus_of(utterance("a"), replace(utterance("b"), speaker="somebody")), tmp_path / "x")
    assert not (tmp_path / "x" / "manifest.jsonl").exists()


def test_a_folder_without_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus calls: no manifest\.jsonl or manifest\.csv"):
        load_prepared("calls", tmp_path)


def test_a_target_that_is_one_already_is_kept_to_the_bit() -> None:
    thirds = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=np.float32) / np.float32(3)
    weights = dict(zip(MSP8, thirds.tolist(), strict=True))
    np.testing.assert_array_equal(parse_ratings(weights, None, None).target, thirds)


def empty() -> Corpus:
    return Corpus("x", "", "", ())


def test_a_corpus_of_nothing_cannot_be_read_back(tmp_path: Path) -> None:
    write_prepared(empty(), tmp_path / "x")
    with pytest.raises(CorpusError, match="it has no rows"):
        load_prepared("x", tmp_path / "x")
