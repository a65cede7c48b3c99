"""Real processes: they take seconds to start, so each of these tests shows several things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.corpora import corpus_of, utterance, write_tone
from tests.fakes.loaders import POISON, load_deadly, load_poisoned
from trainer import workload
from trainer.corpora.manifest import Corpus
from trainer.errors import ExtractionError
from trainer.feature_library import FeatureLibrary
from trainer.workload import Part

CLIPS = 10


@dataclass(frozen=True)
class Source:
    backbone: str
    stride: int = 1
    deviations: bool = False


MODALITIES = {"prosody": Source("prosody"), "text": Source("minilm-l6")}


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr(workload, "CHUNK_UTTERANCES", 2)
    return corpus_of(
        *(
            utterance(
                str(i), audio=write_tone(tmp_path / f"{i}.wav", seconds=0.3, level=0.05 * (1 + i)), duration_s=0.3
            )
            for i in range(CLIPS)
        ),
        utterance("comment", text="three more words"),
    )


def test_processes_fill_the_stores_as_one_does_and_a_clip_that_fails_fails_alone(tmp_path: Path, clips: Corpus) -> None:
    told: list[tuple[int, float]] = []

    @contextmanager
    def progress(description: str, utterances: int, audio_s: float) -> Iterator[object]:
        yield lambda count, seconds: told.append((count, seconds))

    library = FeatureLibrary(tmp_path / "several", MODALITIES)
    report = library.extract([clips], load=load_poisoned, progress=progress, jobs=2)
    alone = FeatureLibrary(tmp_path / "one", MODALITIES)
    expected = alone.extract([clips], load=load_poisoned)

    assert report.stored == expected.stored == {"prosody-clean": CLIPS - 1, "minilm-l6-clean": CLIPS}
    assert report.missing == expected.missing == {"prosody-clean": 1}
    assert [str(failure) for failure in report.failures] == [
        f"{POISON}: minilm-l6-clean: poison",
        f"{POISON}: prosody-clean: poison",
    ]
    for u in clips.utterances:
        ours, theirs = library.features(u.id), alone.features(u.id)
        for name in MODALITIES:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert [store.duplicates for store in library.stores.values()] == [{}, {}]
    assert sum(count for count, _ in told) == CLIPS + 1
    assert sum(seconds for _, seconds in told) == pytest.approx(0.3 * CLIPS)


def test_a_process_that_is_killed_costs_what_it_had_in_hand_and_the_next_run_goes_on(
    tmp_path: Path, clips: Corpus
) -> None:
    voice = {"prosody": MODALITIES["prosody"]}
    with pytest.raises(ExtractionError, match=r"was killed.*run the same again"):
        FeatureLibrary(tmp_path / "f", voice).extract([clips], load=load_deadly, jobs=2)

    library = FeatureLibrary(tmp_path / "f", voice)
    kept = len(library.stores["prosody-clean"])
    assert 0 < kept < CLIPS
    report = library.extract([clips], load=load_poisoned)
    assert report.present == {"prosody-clean": kept}
    assert len(library.stores["prosody-clean"]) + len(report.failures) == CLIPS
    assert library.stores["prosody-clean"].verify() == ()


def test_ranks_fill_one_store_together(tmp_path: Path, clips: Corpus) -> None:
    stored = []
    for rank in range(3):
        library = FeatureLibrary(tmp_path / "f", MODALITIES)
        stored.append(library.extract([clips], load=load_poisoned, part=Part(rank, 3)).stored["prosody-clean"])
    assert sum(stored) == CLIPS - 1
    assert max(stored) - min(stored) <= 2
    assert len(library.stores["minilm-l6-clean"]) == CLIPS


def test_nothing_is_started_where_nothing_is_lacking(
    tmp_path: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureLibrary(tmp_path / "f", MODALITIES).extract([corpus_of(*clips.utterances[:2])], load=load_deadly)
    monkeypatch.setattr("trainer.feature_library.ExtractionJobs", None)
    report = FeatureLibrary(tmp_path / "f", MODALITIES).extract([corpus_of(*clips.utterances[:2])], jobs=2)
    assert not report.stored
