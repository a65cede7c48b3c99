"""A bundle on disk: whole or refused, with the wrong file or field named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import models.bundle_files
from models.bundle import find_bundle, load_bundle, save_bundle, shipped_bundle
from models.bundle_manifest import MANIFEST_FILE
from models.errors import BundleError
from models.speaker import SpeakerPrior, SpeakerStandardisation
from tests.fakes.bundles import LABELS, tiny_bundle

MEMBER = "member-all.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(original, tmp_path / "tiny")


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return found


def write_manifest(folder: Path, values: object) -> None:
    (folder / MANIFEST_FILE).write_text(json.dumps(values))


def sign(folder: Path, *names: str) -> None:
    """Writes into the manifest what the files now are, as a forger or a careless trainer would."""
    values = manifest_of(folder)
    for name in names:
        content = (folder / name).read_bytes()
        values["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(folder, values)


def rewrite(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes tensors and signs the result."""
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)
    sign(folder, file)


def parts(folder: Path) -> dict[str, Any]:
    """What `save_bundle` takes to write the same bundle again."""
    bundle = load_bundle(folder)
    values = bundle.manifest.model_dump(mode="json")
    own = ("format_version", "members", "meta_file", "speaker_standardisation", "speaker_file", "check_file", "files")
    return {
        "manifest": {key: value for key, value in values.items() if key not in own},
        "members": {m.name: (m.config, load_file(folder / m.file)) for m in bundle.manifest.members},
        "meta": load_file(folder / bundle.manifest.meta_file),
        "model_card": "# Again\n",
    }


def test_a_round_trip_keeps_what_was_said(original: Path) -> None:
    bundle = load_bundle(original)
    assert bundle.labels == LABELS
    assert [m.name for m in bundle.modalities] == ["acoustic", "prosody", "text"]
    assert [m.stride for m in bundle.modalities] == [2, 2, 1]
    assert bundle.abstain_below == 0.2
    assert bundle.final_windows.bucket_s(16_000) == 10.0
    assert bundle.interim_windows.bucket_s(16_000) == 6.0
    assert bundle.manifest.calibration.temperature == 1.3


def test_its_name_is_the_hash_of_its_manifest(original: Path, tmp_path: Path) -> None:
    assert load_bundle(original).sha256 == hashlib.sha256((original / MANIFEST_FILE).read_bytes()).hexdigest()
    assert tiny_bundle(tmp_path / "same").sha256 == load_bundle(original).sha256
    assert tiny_bundle(tmp_path / "other", seed=1).sha256 != load_bundle(original).sha256


def test_weights_come_back_as_they_went_in_up_to_half_precision(original: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    given = parts(original)
    _, weights = given["members"]["all"]
    for name in weights:
        weights[name] = generator.normal(size=weights[name].shape).astype(np.float32)
    state = save_bundle(tmp_path / "again", **given).ensemble().members[1].state_dict()
    assert state.keys() == weights.keys()
    for name, tensor in state.items():
        np.testing.assert_allclose(tensor.numpy(), weights[name], rtol=1e-3 if tensor.ndim > 1 else 0)


def test_a_scale_outside_half_precision_is_kept(original: Path, tmp_path: Path) -> None:
    given = parts(original)
    given["members"]["all"][1]["prosody_scale"][:] = 1e6
    member = save_bundle(tmp_path / "again", **given).ensemble().members[1]
    assert (member.state_dict()["prosody_scale"] == 1e6).all()


def test_nothing_is_pickled(original: Path) -> None:
    assert {path.suffix for path in original.iterdir()} == {".json", ".safetensors", ".md"}


def test_speaker_priors_travel_with_the_bundle(original: Path, tmp_path: Path) -> None:
    prior = SpeakerPrior(np.linspace(0, 1, 52), np.linspace(1, 2, 52), weight_frames=200, memory_frames=3000)
    saved = save_bundle(tmp_path / "again", **parts(original), speaker=SpeakerStandardisation({"prosody": prior}))
    (name, found), *others = saved.speaker_standardisation().priors.items()
    assert (name, others) == ("prosody", [])
    np.testing.assert_allclose(found.mean, prior.mean, rtol=1e-6)
    np.testing.assert_allclose(found.deviation, prior.deviation, rtol=1e-6)
    assert (found.weight_frames, found.memory_frames) == (200, 3000)
    assert load_bundle(original).speaker_standardisation().priors == {}


def refuses(folder: Path, *said: str) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder).ensemble()
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", [MANIFEST_FILE, MEMBER, "meta.safetensors", "MODEL_CARD.md"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refuses(folder, name, "cannot be read")


@pytest.mark.parametrize("name", [MEMBER, "meta.safetensors", "MODEL_CARD.md"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    refuses(folder, name, "SHA-256", "fetch it again")


def test_a_truncated_file_is_named_with_both_sizes(folder: Path) -> None:
    content = (folder / MEMBER).read_bytes()
    (folder / MEMBER).write_bytes(content[:-10])
    refuses(folder, MEMBER, f"{len(content) - 10} bytes", str(len(content)))


def test_a_file_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    (folder / "weights.pkl").write_bytes(b"\x80\x04.")
    refuses(folder, "weights.pkl", "not listed")


def test_files_that_desktops_leave_behind_are_not(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"\0")
    assert load_bundle(folder).labels == LABELS


def test_a_member_that_is_no_safetensors_file_is_named(folder: Path) -> None:
    (folder / MEMBER).write_bytes(b"\x80\x04 a pickle, say")
    sign(folder, MEMBER)
    refuses(folder, MEMBER, "not a safetensors file")


def test_tensors_of_a_type_numpy_does_not_know_are_named(folder: Path) -> None:
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / MEMBER).write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    sign(folder, MEMBER)
    refuses(folder, MEMBER, "BF16", "store float16 or float32")


def test_tensors_that_are_not_floating_are_named(folder: Path) -> None:
    rewrite(folder, "meta.safetensors", lambda t: t.update({"to_logits.bias": np.zeros(7, dtype=np.int64)}))
    refuses(folder, "meta.safetensors", "to_logits.bias holds int64")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("file", "tensor"), [(MEMBER, "latent.weight"), ("meta.safetensors", "to_logits.bias")])
def test_weights_that_are_not_finite_are_named(folder: Path, file: str, tensor: str, value: float) -> None:
    rewrite(folder, file, lambda t: t[tensor].fill(value))
    refuses(folder, file, tensor, "not finite")


def test_a_speaker_prior_that_is_not_finite_is_named(original: Path, tmp_path: Path) -> None:
    prior = SpeakerPrior(np.zeros(52), np.ones(52), weight_frames=1, memory_frames=1)
    folder = save_bundle(
        tmp_path / "again", **parts(original), speaker=SpeakerStandardisation({"prosody": prior})
    ).folder
    rewrite(folder, "speaker.safetensors", lambda t: t["prosody_mean"].fill(np.nan))
    refuses(folder, "speaker.safetensors", "prosody_mean", "not finite")


def test_a_speaker_prior_of_another_width_is_named(original: Path, tmp_path: Path) -> None:
    prior = SpeakerPrior(np.zeros(5), np.ones(5), weight_frames=1, memory_frames=1)
    with pytest.raises(BundleError, match=r"speaker.safetensors: prior of prosody has 5 features, expected 52"):
        save_bundle(tmp_path / "again", **parts(original), speaker=SpeakerStandardisation({"prosody": prior}))


@pytest.mark.parametrize("lost", ["prosody_mean", "prosody_deviation"])
def test_a_speaker_prior_that_lacks_a_part_is_named(original: Path, tmp_path: Path, lost: str) -> None:
    prior = SpeakerPrior(np.zeros(52), np.ones(52), weight_frames=1, memory_frames=1)
    folder = save_bundle(
        tmp_path / "again", **parts(original), speaker=SpeakerStandardisation({"prosody": prior})
    ).folder
    rewrite(folder, "speaker.safetensors", lambda t: t.pop(lost))
    with pytest.raises(BundleError, match=f"speaker.safetensors: prior of prosody: '{lost}'"):
        load_bundle(folder).speaker_standardisation()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("latent.weight"), "tensor latent.weight is missing (1 in all)"),
        (lambda t: t.update(extra=np.zeros(1, dtype=np.float32)), "tensor extra has no place in its model (1 such)"),
        (lambda t: t.update({"latent.bias": np.zeros(9, np.float32)}), "latent.bias has shape (9,), expected (8,)"),
    ],
)
def test_tensors_that_do_not_fit_the_architecture_are_named(
    folder: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    rewrite(folder, MEMBER, change)
    refuses(folder, MEMBER, words)


def test_a_manifest_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_text("{'labels':")
    refuses(folder, MANIFEST_FILE, "not JSON")


@pytest.mark.parametrize("values", [[], "tiny", None])
def test_a_manifest_that_is_no_object_is_refused(folder: Path, values: object) -> None:
    write_manifest(folder, values)
    refuses(folder, MANIFEST_FILE, "not a JSON object")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused_before_anything_else(folder: Path, version: object) -> None:
    write_manifest(folder, {"format_version": version, "what": "unknown"})
    refuses(folder, f"format version {version!r}", "reads version 1")


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("colour",), "red", "colour: Extra inputs"),
        (("profile",), "huge", "profile: "),
        (("labels",), ["angry"], "labels: "),
        (("labels",), ["angry", "joyful"], "unknown labels ['joyful']"),
        (("attributes",), ["valence"], "attributes: this release reads arousal, valence, dominance"),
        (("calibration", "temperature"), 0, "calibration.temperature: "),
        (("calibration", "temperature"), float("inf"), "calibration.temperature: "),
        (("calibration", "abstain_below"), 1.5, "calibration.abstain_below: "),
        (("modalities", 0, "backbone"), "wavlm", "acoustic needs backbone wavlm"),
        (("modalities", 1, "name"), "acoustic", "modalities: a name stands twice"),
        (("modalities", 0, "stride"), 0, "modalities.0.stride: "),
        (("modalities", 2, "deviations"), True, "deviations need an even dim, a stride of 2 at least"),
        (("members", 1, "name"), "acoustic-text", "members: a name stands twice"),
        (("members", 0, "file"), "other.safetensors", "files: other.safetensors is not listed"),
        (("members", 0, "file"), "../member.safetensors", "members.0.file: "),
        (("members", 0, "config"), {"labels": 7}, "member acoustic-text: not a DeepSER configuration"),
        (("members", 0, "config", "labels"), 3, "to_logits.weight has shape (7, 8), expected (3, 8)"),
        (("members", 0, "config", "width"), "8", "every size must be a whole number of at least 1, got width='8'"),
        (("members", 0, "config", "dims"), [512, 385], "text_mean has shape (384,), expected (385,)"),
        (("meta_file",), "/etc/passwd", "meta_file: "),
        (("files", "../../secret"), {"sha256": "0" * 64, "bytes": 1}, "must be a plain name inside the bundle"),
        (("files", "..\\secret"), {"sha256": "0" * 64, "bytes": 1}, "must be a plain name inside the bundle"),
        (("files", MEMBER, "sha256"), "abc", "sha256: "),
        (("final_windows", "buckets_s"), [10, 8], "final_windows: "),
        (("interim_windows", "tail_s"), -1, "interim_windows.tail_s: "),
        (("speaker_file",), "meta.safetensors", "speaker_file: must be given just where"),
        (("speaker_standardisation",), {"video": {"weight_frames": 1, "memory_frames": 1}}, "names a modality that"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, keys: tuple[str | int, ...], value: object, words: str) -> None:
    values = manifest_of(folder)
    part: Any = values
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    write_manifest(folder, values)
    refuses(folder, MANIFEST_FILE if "config" not in keys else "tiny", words)


def test_a_missing_field_is_named(folder: Path) -> None:
    values = manifest_of(folder)
    del values["calibration"]
    write_manifest(folder, values)
    refuses(folder, "calibration: Field required")


def test_a_modality_that_no_member_reads_is_refused(tmp_path: Path, original: Path) -> None:
    given = parts(original)
    given["members"] = {"acoustic-text": given["members"]["acoustic-text"]}
    given["meta"] = {
        "to_logits.weight": np.zeros((7, 10), np.float32),
        "to_logits.bias": np.zeros(7, np.float32),
        "to_attributes.weight": np.zeros((3, 10), np.float32),
        "to_attributes.bias": np.zeros(3, np.float32),
    }
    with pytest.raises(BundleError, match="no member reads prosody"):
        save_bundle(tmp_path / "again", **given)


def test_saving_replaces_a_bundle_whole(folder: Path) -> None:
    before = load_bundle(folder)
    saved = save_bundle(folder, **parts(folder))
    assert saved.sha256 != before.sha256
    assert (folder / "MODEL_CARD.md").read_text() == "# Again\n"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_would_not_load_is_not_saved_and_the_old_bundle_stays(folder: Path) -> None:
    before = load_bundle(folder)
    given = parts(folder)
    given["members"]["all"][1]["latent.weight"][0, 0] = np.nan
    with pytest.raises(BundleError, match=f"^{folder}/{MEMBER}: tensor latent.weight holds values that are not finite"):
        save_bundle(folder, **given)
    given = parts(folder)
    given["meta"]["to_logits.bias"] = np.zeros(3, np.float32)
    with pytest.raises(BundleError, match=r"to_logits\.bias has shape"):
        save_bundle(folder, **given)
    assert load_bundle(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failing_disk_leaves_the_old_bundle_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, given = load_bundle(folder), parts(folder)
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if target == folder and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(models.bundle_files.Path, "rename", fail_for_new)
    with pytest.raises(BundleError, match="No space left on device"):
        save_bundle(folder, **given)
    assert load_bundle(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_impossible_manifest_is_not_saved(tmp_path: Path, original: Path) -> None:
    given = parts(original)
    given["manifest"]["labels"] = ["angry", "angry"]
    with pytest.raises(BundleError, match="labels repeat"):
        save_bundle(tmp_path / "again", **given)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_found_by_folder(original: Path) -> None:
    assert find_bundle(original) == original


@pytest.mark.parametrize(
    ("source", "words"),
    [("no-such", "no shipped bundle 'no-such'"), ("some/where", "no such bundle"), (".", "holds no manifest.json")],
)
def test_what_is_no_bundle_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=words):
        find_bundle(source)


def test_a_shipped_bundle_is_found_by_name(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(original, tmp_path / "base")
    monkeypatch.setattr("models.bundle._PRETRAINED", tmp_path)
    assert shipped_bundle() == find_bundle("base") == tmp_path / "base"
    with pytest.raises(BundleError, match="there are base"):
        shipped_bundle("large")


def test_members_that_weigh_layers_keep_their_weights(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", layers={"acoustic": 4})
    member = bundle.ensemble().members[0]
    assert member.config.layers == (4, 1)
    assert member.layer_mixes["acoustic"].scores.std() > 0
    assert {m.name: m.layers for m in bundle.manifest.modalities} == {"acoustic": 4, "prosody": 1, "text": 1}
