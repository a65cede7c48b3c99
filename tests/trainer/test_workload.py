from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.corpora import utterance
from trainer.corpora.manifest import Utterance
from trainer.errors import RecipeError
from trainer.workload import CHUNK_S, CHUNK_UTTERANCES, WHOLE, Part, chunks, longest_first

CLIP = Path("clip.wav")


def spoken(*durations_s: float | None) -> list[Utterance]:
    return [utterance(str(i), audio=CLIP, duration_s=seconds) for i, seconds in enumerate(durations_s)]


def test_the_longest_come_first_and_texts_after_all_audio() -> None:
    clips = spoken(1.0, None, 3.0, 3.0)
    texts = [utterance("short", text="a word"), utterance("long", text="a few words more")]
    ordered = [u.id.partition("/")[2] for u in longest_first([*texts, *clips])]
    assert ordered == ["2", "3", "0", "long", "short", "1"]


@given(st.integers(1, 6), st.lists(st.floats(0.1, 30.0), max_size=40), st.randoms())
def test_every_utterance_is_in_exactly_one_part_in_whatever_order_they_come(
    of: int, durations_s: list[float], random: st.random.Random
) -> None:
    clips = spoken(*durations_s)
    parts = []
    for rank in range(of):
        random.shuffle(clips)
        parts.append(Part(rank, of).share(clips))
    assert sorted(u.id for part in parts for u in part) == sorted(u.id for u in clips)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    sums = [sum(u.duration_s or 0.0 for u in part) for part in parts]
    assert max(sums) - min(sums) <= max(durations_s, default=0.0) + 1e-6


def test_one_rank_has_everything() -> None:
    assert len(WHOLE.share(spoken(1.0, 2.0))) == 2


@pytest.mark.parametrize(("rank", "of"), [(-1, 2), (2, 2), (0, 0)])
def test_a_part_that_does_not_exist_is_refused(rank: int, of: int) -> None:
    with pytest.raises(RecipeError, match=f"no part {rank} of {of}"):
        Part(rank, of)


@given(st.lists(st.one_of(st.none(), st.floats(0.1, 60.0)), max_size=600))
def test_chunks_keep_order_and_are_neither_empty_nor_large(durations_s: list[float | None]) -> None:
    clips = spoken(*durations_s)
    cut = list(chunks(clips))
    assert [u.id for chunk in cut for u in chunk] == [u.id for u in clips]
    for chunk in cut:
        assert 0 < len(chunk) <= CHUNK_UTTERANCES
        assert sum(u.duration_s or 0.0 for u in chunk[:-1]) < CHUNK_S
