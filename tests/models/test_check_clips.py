"""Clips that travel with a bundle: what members read, whole or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.bundle import load_bundle
from models.bundle_manifest import MANIFEST_FILE
from models.check_clips import CheckClips, read_check_clips, write_check_clips
from models.errors import BundleError
from models.modalities import Modality, PaddedBatch, TokenBatch
from tests.fakes.bundles import tiny_bundle, tiny_clips

VOICE = Modality("voice", "acoustic", "some", 2)
WORDS = Modality("words", "linguistic", "other", 3)


def frames(count: int, dim: int, value: float = 1.0) -> np.ndarray:
    return np.full((count, dim), value, dtype=np.float16)


def texts(*sizes: int | None) -> list[np.ndarray | None]:
    return [None if size is None else np.arange(1, size + 3) for size in sizes]


def clips() -> CheckClips:
    """Both, voice alone, words alone."""
    return CheckClips({"voice": [frames(4, 2, 0.5), frames(1, 2), None]}, {"words": texts(2, None, 3)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "check.safetensors"
    write_check_clips(path, clips(), (VOICE, WORDS))
    return path


def assert_same(one: CheckClips, other: CheckClips) -> None:
    for mine, theirs in ((one.features, other.features), (one.tokens, other.tokens)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert [row is None for row in mine[name]] == [row is None for row in theirs[name]]
            for a, b in zip(mine[name], theirs[name], strict=True):
                if a is not None and b is not None:
                    np.testing.assert_array_equal(a, b)


def test_they_come_back_as_they_went_in(file: Path) -> None:
    assert_same(read_check_clips(file, (VOICE, WORDS)), clips())


def test_words_may_be_features(tmp_path: Path) -> None:
    given = CheckClips({"voice": [None, frames(1, 2)], "words": [frames(2, 3), None]})
    write_check_clips(tmp_path / "c", given, (VOICE, WORDS))
    assert_same(read_check_clips(tmp_path / "c", (VOICE, WORDS)), given)


def test_a_modality_that_no_clip_has_comes_back_missing(tmp_path: Path) -> None:
    given = CheckClips({"voice": [None, None]}, {"words": texts(1, 2)})
    write_check_clips(tmp_path / "c", given, (VOICE, WORDS))
    assert_same(read_check_clips(tmp_path / "c", (VOICE, WORDS)), given)


def test_features_are_stored_in_half_precision_and_tokens_in_four_bytes(file: Path) -> None:
    types = {name: str(tensor.dtype) for name, tensor in load_file(file).items()}
    assert types == {
        "voice_features": "float16",
        "voice_lengths": "int64",
        "words_tokens": "int32",
        "words_lengths": "int64",
    }


def test_batches_hold_short_clips_before_long_ones_each_as_it_was() -> None:
    first, second = clips().inputs((VOICE, WORDS), batch_clips=2)
    assert [len(batch["voice"]) for batch in (first, second)] == [2, 1]
    assert first["voice"].lengths.tolist() == [1, 4]
    assert first["words"].lengths.tolist() == [0, 2]
    assert (second["voice"].lengths.tolist(), second["words"].lengths.tolist()) == ([0], [3])
    assert isinstance(first["voice"], PaddedBatch)
    assert first["voice"].features[1].tolist() == [[0.5, 0.5]] * 4
    assert first["voice"].features.dtype == np.float32
    assert isinstance(first["words"], TokenBatch)
    assert first["words"].tokens[1].tolist() == [1, 2, 3, 4]


def test_without_a_modality_the_clips_that_have_nothing_else_are_gone() -> None:
    left = clips().without({"words"})
    assert left is not None
    assert_same(left, CheckClips({"voice": [frames(4, 2, 0.5), frames(1, 2)]}))
    assert clips().without({"voice", "words"}) is None


def test_what_is_no_row_of_clips_is_refused() -> None:
    with pytest.raises(BundleError, match="words as features and as tokens"):
        CheckClips({"words": [frames(1, 3)]}, {"words": texts(1)})
    with pytest.raises(BundleError, match=r"one entry a clip in every modality, got \[1, 2\]"):
        CheckClips({"voice": [frames(1, 2)]}, {"words": texts(1, 2)})
    with pytest.raises(BundleError, match="clip 1 has no modality at all"):
        CheckClips({"voice": [frames(1, 2), None]}, {"words": texts(1, None)})
    with pytest.raises(BundleError, match="no modality"):
        CheckClips({})


def test_clips_that_lack_a_modality_of_the_bundle_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="lack modality words"):
        write_check_clips(tmp_path / "c", CheckClips({"voice": [frames(1, 2)]}), (VOICE, WORDS))


def change(tensors: dict[str, Any], name: str, value: Any) -> None:
    tensors[name] = value


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: t.pop("voice_lengths"), "voice_lengths is missing"),
        (lambda t: t.pop("words_tokens"), "words_features is missing"),
        (lambda t: change(t, "stranger", np.ones(2, np.float16)), "stranger is of no modality"),
        (lambda t: change(t, "voice_features", np.ones((5, 7), np.float16)), r"shape \(5, 7\), expected \(5, 2\)"),
        (lambda t: change(t, "voice_lengths", np.array([4, 2, 0])), r"shape \(5, 2\), expected \(6, 2\)"),
        (lambda t: change(t, "voice_features", np.ones((5, 2), np.float32)), "holds float32, expected float16"),
        (lambda t: change(t, "voice_lengths", np.array([-1, 6, 0])), "a length a clip, 0 or more"),
        (lambda t: change(t, "words_lengths", np.array([2, 0, 4])), r"shape \(9,\), expected \(10,\)"),
        (lambda t: change(t, "words_tokens", np.ones(9, np.float32)), "holds float32, expected integer"),
        (lambda t: change(t, "words_tokens", -np.ones(9, np.int32)), "a negative token"),
        (lambda t: change(t, "voice_features", np.full((5, 2), np.nan, np.float16)), "not finite"),
        (lambda t: change(t, "voice_lengths", np.array([4, 0, 1])), "clip 1 has no modality at all"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    file: Path, damage: Callable[[dict[str, Any]], object], said: str
) -> None:
    tensors = load_file(file)
    damage(tensors)
    save_file(tensors, file)
    with pytest.raises(BundleError, match=said) as caught:
        read_check_clips(file, (VOICE, WORDS))
    assert str(caught.value).startswith(str(file))


class TestInABundle:
    def test_a_bundle_carries_them(self, tmp_path: Path) -> None:
        bundle = load_bundle(tiny_bundle(tmp_path / "tiny", check=tiny_clips(tokens=True)).folder)
        found = bundle.check_clips()
        assert found is not None
        assert_same(found, tiny_clips(tokens=True))
        assert bundle.manifest.check_file == "check.safetensors"
        assert "check.safetensors" in bundle.manifest.files

    def test_a_bundle_may_do_without(self, tmp_path: Path) -> None:
        folder = tiny_bundle(tmp_path / "tiny").folder
        values = json.loads((folder / MANIFEST_FILE).read_text())
        del values["check_file"]  # as earlier releases wrote it
        (folder / MANIFEST_FILE).write_text(json.dumps(values))
        assert load_bundle(folder).check_clips() is None

    def test_clips_that_do_not_fit_the_members_are_found_when_it_is_loaded(self, tmp_path: Path) -> None:
        folder = tiny_bundle(tmp_path / "tiny", check=tiny_clips()).folder
        write_check_clips(folder / "check.safetensors", clips(), (VOICE, WORDS))
        content = (folder / "check.safetensors").read_bytes()
        values = json.loads((folder / MANIFEST_FILE).read_text())
        values["files"]["check.safetensors"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
        (folder / MANIFEST_FILE).write_text(json.dumps(values))
        with pytest.raises(BundleError, match=r"check\.safetensors: tensor acoustic_features is missing"):
            load_bundle(folder)

    def test_a_file_the_manifest_does_not_list_is_refused(self, tmp_path: Path) -> None:
        folder = tiny_bundle(tmp_path / "tiny").folder
        values = json.loads((folder / MANIFEST_FILE).read_text())
        (folder / MANIFEST_FILE).write_text(json.dumps({**values, "check_file": "check.safetensors"}))
        with pytest.raises(BundleError, match=r"files: check\.safetensors is not listed"):
            load_bundle(folder)

    def test_clips_of_other_modalities_are_not_saved(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="clips lack modality acoustic"):
            tiny_bundle(tmp_path / "tiny", check=clips())
        assert list(tmp_path.iterdir()) == []
