from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models.weights import WeightsSettings
from tests.fakes.corpora import corpus_of, utterance, write_tone
from tests.fakes.extractors import FakeExtractor
from trainer.corpora.manifest import Corpus
from trainer.errors import FeatureStoreError, RecipeError
from trainer.extraction import ExtractionReport
from trainer.extractors import Clip, Extractor
from trainer.feature_library import FeatureLibrary

WHISPER_DIM, PROSODY_DIM, TEXT_DIM = 512, 26, 384


@dataclass(frozen=True)
class Source:
    backbone: str
    stride: int = 1
    deviations: bool = False


MODALITIES = {"acoustic": Source("whisper-base", stride=2), "prosody": Source("prosody"), "text": Source("minilm-l6")}


@dataclass
class Backbones:
    """Stands in for `open_extractor`, and remembers what was loaded."""

    extractors: dict[str, FakeExtractor]
    loaded: list[str]

    @classmethod
    def fresh(cls, poison: frozenset[str] = frozenset()) -> Backbones:
        dims = {"whisper-base": WHISPER_DIM, "prosody": PROSODY_DIM, "minilm-l6": TEXT_DIM}
        return cls({name: FakeExtractor(dim, poison=poison) for name, dim in dims.items()}, [])

    def load(self, name: str, weights: WeightsSettings | None) -> Extractor:
        self.loaded.append(name)
        return self.extractors[name]


@pytest.fixture
def clips(tmp_path: Path) -> Corpus:
    spoken = [
        utterance(str(i), audio=write_tone(tmp_path / f"{i}.wav", seconds=0.5 + 0.1 * i), text="two words")
        for i in range(6)
    ]
    german = utterance("de", audio=write_tone(tmp_path / "de.wav", seconds=0.5), text="zwei Worte", language="de")
    silent = utterance("mute", audio=write_tone(tmp_path / "mute.wav", seconds=0.5), text=None)
    return corpus_of(*spoken, german, silent, utterance("comment", text="three more words"))


def run(
    root: Path, corpus: Corpus, backbones: Backbones, views: tuple[str, ...] = ("clean",)
) -> tuple[FeatureLibrary, ExtractionReport]:
    with FeatureLibrary(root, MODALITIES, views) as library:
        return library, library.extract([corpus], load=backbones.load)


def test_each_utterance_gets_what_its_audio_and_text_allow(tmp_path: Path, clips: Corpus) -> None:
    library, report = run(tmp_path / "f", clips, Backbones.fresh())
    assert report.stored == {"whisper-base-stride2-clean": 8, "prosody-clean": 8, "minilm-l6-clean": 7}
    assert report.missing == {"whisper-base-stride2-clean": 1, "prosody-clean": 1, "minilm-l6-clean": 2}
    assert report.failures == []
    both = library.features("made_up/0")
    assert {name: None if f is None else f.shape[1] for name, f in both.items()} == library.dims
    assert library.features("made_up/de")["text"] is None
    assert library.features("made_up/mute")["text"] is None
    comment = library.features("made_up/comment")
    assert comment["acoustic"] is None
    assert comment["text"] is not None
    assert comment["text"].shape == (3, TEXT_DIM)


def test_frames_are_averaged_by_the_stride_of_their_modality(tmp_path: Path, clips: Corpus) -> None:
    library, _ = run(tmp_path / "f", clips, Backbones.fresh())
    features = library.features("made_up/0")
    assert features["prosody"] is not None
    assert features["acoustic"] is not None
    assert features["acoustic"].shape[0] == -(-features["prosody"].shape[0] // 2)


def test_deviations_stand_beside_the_means_in_a_store_of_their_own(tmp_path: Path, clips: Corpus) -> None:
    sources = {"prosody": Source("prosody", stride=2), "both": Source("prosody", stride=2, deviations=True)}
    with FeatureLibrary(tmp_path / "f", sources) as library:
        library.extract([clips], load=Backbones.fresh().load)
    features = library.features("made_up/0")
    assert features["prosody"] is not None
    assert features["both"] is not None
    assert library.dims == {"prosody": PROSODY_DIM, "both": 2 * PROSODY_DIM}
    np.testing.assert_array_equal(features["both"][:, :PROSODY_DIM], features["prosody"])
    assert set(library.stores) == {"prosody-stride2-clean", "prosody-stride2-deviations-clean"}


def test_batches_hold_clips_of_one_bucket_and_no_more_than_the_backbone_takes(tmp_path: Path, clips: Corpus) -> None:
    backbones = Backbones.fresh()
    run(tmp_path / "f", clips, backbones)
    batches = backbones.extractors["whisper-base"].batches
    assert max(len(batch) for batch in batches) == 4
    assert sorted(clip for batch in batches for clip in batch) == sorted(u.id for u in clips.utterances if u.audio)
    shorter_than_a_second = {f"made_up/{i}" for i in range(5)} | {"made_up/de", "made_up/mute"}
    assert all(set(batch) <= shorter_than_a_second or not set(batch) & shorter_than_a_second for batch in batches)


def test_a_second_run_does_nothing_and_loads_nothing(tmp_path: Path, clips: Corpus) -> None:
    run(tmp_path / "f", clips, Backbones.fresh())
    again = Backbones.fresh()
    _, report = run(tmp_path / "f", clips, again)
    assert again.loaded == []
    assert not report.stored
    assert report.present == {"whisper-base-stride2-clean": 8, "prosody-clean": 8, "minilm-l6-clean": 7}


def test_only_what_a_store_lacks_is_extracted(tmp_path: Path, clips: Corpus) -> None:
    part = corpus_of(*clips.utterances[:3])
    run(tmp_path / "f", part, Backbones.fresh())
    backbones = Backbones.fresh()
    run(tmp_path / "f", clips, backbones)
    done_again = {clip for batch in backbones.extractors["prosody"].batches for clip in batch}
    assert done_again == {u.id for u in clips.utterances[3:] if u.audio}


def test_every_view_has_stores_of_its_own_but_text_has_one(tmp_path: Path, clips: Corpus) -> None:
    library, report = run(tmp_path / "f", clips, Backbones.fresh(), ("clean", "telephone"))
    assert report.stored["prosody-telephone"] == 8
    assert {folder.name for folder in (tmp_path / "f").iterdir()} == {
        "whisper-base-stride2-clean",
        "whisper-base-stride2-telephone",
        "prosody-clean",
        "prosody-telephone",
        "minilm-l6-clean",
    }
    clean, heard = library.features("made_up/0"), library.features("made_up/0", "telephone")
    assert clean["acoustic"] is not None
    assert heard["acoustic"] is not None
    assert not np.array_equal(clean["acoustic"], heard["acoustic"])
    np.testing.assert_array_equal(clean["text"], heard["text"])


def test_one_clip_that_fails_does_not_cost_its_batch(tmp_path: Path, clips: Corpus) -> None:
    library, report = run(tmp_path / "f", clips, Backbones.fresh(poison=frozenset({"made_up/1"})))
    assert {(problem.where, problem.what) for problem in report.failures} == {
        ("made_up/1", "whisper-base-stride2-clean: poison"),
        ("made_up/1", "prosody-clean: poison"),
        ("made_up/1", "minilm-l6-clean: poison"),
    }
    assert report.stored == {"whisper-base-stride2-clean": 7, "prosody-clean": 7, "minilm-l6-clean": 6}
    assert all(features is None for features in library.features("made_up/1").values())


def test_a_clip_that_cannot_be_decoded_is_listed_and_its_text_is_still_used(tmp_path: Path, clips: Corpus) -> None:
    (tmp_path / "2.wav").write_bytes((tmp_path / "2.wav").read_bytes()[:1000])
    library, report = run(tmp_path / "f", clips, Backbones.fresh())
    (failure,) = report.failures
    assert failure.where == "made_up/2"
    assert "cut short" in failure.what
    features = library.features("made_up/2")
    assert features["acoustic"] is None
    assert features["text"] is not None


def test_a_clip_too_long_for_the_backbone_is_listed(tmp_path: Path) -> None:
    long = utterance("long", audio=write_tone(tmp_path / "long.wav", seconds=4.0), text=None)
    _, report = run(tmp_path / "f", corpus_of(long), Backbones.fresh())
    assert {problem.where for problem in report.failures} == {"made_up/long"}
    assert all("do not fit" in problem.what for problem in report.failures)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not finite"), (1e6, "too large")])
def test_features_that_half_precision_cannot_hold_are_listed(tmp_path: Path, value: float, message: str) -> None:
    class Wild(FakeExtractor):
        def _features(self, clip: Clip) -> np.ndarray:
            return np.full((2, TEXT_DIM), value, dtype=np.float32)

    with FeatureLibrary(tmp_path / "f", {"text": MODALITIES["text"]}) as library:
        report = library.extract([corpus_of(utterance("a"))], load=lambda name, weights: Wild(TEXT_DIM))
    (failure,) = report.failures
    assert message in failure.what


def test_a_text_without_a_token_is_listed(tmp_path: Path) -> None:
    class Mute(FakeExtractor):
        def _features(self, clip: Clip) -> np.ndarray:
            return np.zeros((0, TEXT_DIM), dtype=np.float32)

    with FeatureLibrary(tmp_path / "f", {"text": MODALITIES["text"]}) as library:
        report = library.extract([corpus_of(utterance("a"))], load=lambda name, weights: Mute(TEXT_DIM))
    assert [str(failure) for failure in report.failures] == ["made_up/a: minilm-l6-clean: it gives no frames"]


def test_an_interrupted_run_keeps_what_it_stored_and_lets_the_next_one_write(tmp_path: Path, clips: Corpus) -> None:
    class Interrupted(FakeExtractor):
        def encode(self, given: Sequence[Clip]) -> list[np.ndarray]:
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().encode(given)

    prosody = {"prosody": MODALITIES["prosody"]}
    with FeatureLibrary(tmp_path / "f", prosody) as library, pytest.raises(KeyboardInterrupt):
        library.extract([clips], load=lambda name, weights: Interrupted(PROSODY_DIM, batch=1))
    with FeatureLibrary(tmp_path / "f", prosody) as library:
        report = library.extract([clips], load=lambda name, weights: FakeExtractor(PROSODY_DIM))
    assert (report.present["prosody-clean"], report.stored["prosody-clean"]) == (3, 5)


def test_progress_is_told_of_every_utterance_and_its_audio(tmp_path: Path, clips: Corpus) -> None:
    told: list[tuple[int, float]] = []
    opened: list[tuple[str, int]] = []

    @contextmanager
    def progress(description: str, utterances: int, audio_s: float) -> Iterator[object]:
        opened.append((description, utterances))
        yield lambda count, seconds: told.append((count, seconds))

    with FeatureLibrary(tmp_path / "f", MODALITIES) as library:
        library.extract([clips], load=Backbones.fresh().load, progress=progress)
    assert opened == [("features, clean", 9)]
    assert sum(count for count, _ in told) == 9
    assert sum(seconds for _, seconds in told) == pytest.approx(6 * 0.75 + 2 * 0.5, abs=0.2)


def test_a_store_of_another_stride_has_a_folder_of_its_own(tmp_path: Path, clips: Corpus) -> None:
    run(tmp_path / "f", clips, Backbones.fresh())
    with FeatureLibrary(tmp_path / "f", {"acoustic": Source("whisper-base", stride=4)}) as library:
        assert library.features("made_up/0") == {"acoustic": None}


def test_a_library_over_stores_of_another_policy_is_refused(tmp_path: Path, clips: Corpus) -> None:
    run(tmp_path / "f", clips, Backbones.fresh())
    policy = tmp_path / "f" / "prosody-clean" / "policy.json"
    policy.write_text(policy.read_text().replace('"extractor_version": ', '"extractor_version": 9'))
    with pytest.raises(FeatureStoreError, match="extractor_version"):
        FeatureLibrary(tmp_path / "f", MODALITIES)


def test_a_library_of_an_unknown_view_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no view 'radio'"):
        FeatureLibrary(tmp_path, MODALITIES, ("radio",))
