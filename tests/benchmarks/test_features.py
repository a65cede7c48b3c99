"""Extraction and reading, measured on little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import features
from benchmarks.feature_reading import drop_page_cache, measure_reading, measure_steps
from benchmarks.features import chosen, main, measure_backbones, measure_extraction
from models.backbones.registry import BackboneSpec, backbone
from tests.fakes.corpora import corpus_of, utterance, write_tone
from tests.fakes.extractors import FakeExtractor
from trainer import feature_library
from trainer.corpora.manifest import Corpus
from trainer.errors import TrainerError
from trainer.extractors import Extractor
from trainer.recipe import load_recipe

BASE = load_recipe("base")
STORED_HOURS = 0.05


@pytest.fixture
def clips(tmp_path: Path) -> Corpus:
    made = [
        utterance(str(i), audio=write_tone(tmp_path / f"{i}.wav", seconds=1.0), duration_s=1.0, text="so be it")
        for i in range(4)
    ]
    return corpus_of(*made)


@pytest.fixture
def backbones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def load(source: str | BackboneSpec, weights: object = None, **_: object) -> Extractor:
        return FakeExtractor((backbone(source) if isinstance(source, str) else source).dim)

    monkeypatch.setattr(features, "open_extractor", load)
    monkeypatch.setattr(feature_library, "open_extractor", load)
    yield


@pytest.mark.usefixtures("backbones")
def test_every_backbone_of_the_recipe_is_measured_and_the_whole(tmp_path: Path, clips: Corpus) -> None:
    rows = [measure_extraction([clips], BASE, 1, tmp_path / "f"), *measure_backbones(clips.utterances, BASE)]

    assert [row.backbone for row in rows] == ["all", "decoding", "whisper-base-layer3", "prosody", "minilm-l6"]
    assert all((row.clips, row.audio_s) == (4, 4.0) for row in rows)
    assert all(row.cpu_s_per_audio_s > 0 for row in rows[:2])
    assert rows[0].hours_an_hour == pytest.approx(100 / rows[0].hours_for_100_hours, rel=0.1)


@pytest.mark.usefixtures("backbones")
def test_clips_that_cannot_be_used_would_flatter_the_figures(tmp_path: Path, clips: Corpus) -> None:
    (tmp_path / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(TrainerError, match=r"1 clips could not be used, first: made_up/2"):
        measure_extraction([clips], BASE, 1, tmp_path / "f")


def test_clips_are_chosen_evenly_over_what_is_spoken(clips: Corpus) -> None:
    written = corpus_of(utterance("comment", corpus="texts"), name="texts")
    (kept,) = chosen([clips, written], 2)
    assert [u.id for u in kept.utterances] == ["made_up/0", "made_up/2"]
    assert chosen([clips], 9)[0].utterances == clips.utterances
    with pytest.raises(TrainerError, match="no clips"):
        chosen([written], 2)


def test_reading_is_measured_by_itself_and_beside_the_largest_member(tmp_path: Path) -> None:
    rows, library = measure_reading(BASE, STORED_HOURS, tmp_path / "made-up")
    step = measure_steps(BASE, library, steps=1)

    assert rows[-1].page_cache == "warm"
    assert {store.shards for store in library.stores.values()} == {1}
    examples = round(STORED_HOURS * 3600 / 6.5)
    assert [row.examples for row in rows] == [examples] * len(rows)
    stored_mb = sum(store.size_bytes for store in library.stores.values()) / 1e6
    assert [row.mb for row in rows] == pytest.approx([stored_mb] * len(rows), abs=0.01)
    assert (step.member, step.steps) == ("acoustic-prosody-a", 1)
    assert step.reading_over_step == pytest.approx(step.reading_ms / step.step_ms, rel=0.05)


def test_the_page_cache_can_be_dropped_without_losing_anything(tmp_path: Path) -> None:
    file = tmp_path / "shard-00000.f16"
    file.write_bytes(b"frames")
    drop_page_cache(tmp_path)
    assert file.read_bytes() == b"frames"


def test_without_corpora_only_reading_is_measured() -> None:
    result = CliRunner().invoke(main, ["--hours", str(STORED_HOURS), "--json"])

    report = json.loads(result.stdout)
    assert (report["benchmark"], report["settings"]["corpora"]) == ("features", [])
    assert {row["measurement"] for row in report["results"]} == {"reading", "step"}
