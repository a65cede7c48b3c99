"""What a release does not pin, the first use does, and every later one is held to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import WeightsError
from models.weights import WeightsSettings, list_weights, pinned_weights, verify_weights, weights_folder
from models.weights_registry import HubRepository
from tests.fakes.weights import COMMIT, CONFIG, CONTENTS, LOOSE, FakeHub, register_toy, write_files


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    register_toy(monkeypatch, LOOSE)
    return FakeHub().install(monkeypatch)


def from_hub(cache: Path) -> WeightsSettings:
    return WeightsSettings(sources=("hub",), cache=str(cache))


def pins(cache: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((cache / "toy.pin.json").read_text())
    return values


def test_the_first_fetch_records_commit_and_hashes_beside_the_weights(cache: Path, hub: FakeHub) -> None:
    assert (weights_folder("toy", from_hub(cache)) / "config.json").read_bytes() == CONFIG
    assert pins(cache) == {
        "repository": "toys/toy",
        "revision": COMMIT,
        "files": {
            name: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in CONTENTS.items()
        },
    }


def test_every_file_comes_from_the_commit_that_is_recorded(cache: Path, hub: FakeHub) -> None:
    loose = replace(LOOSE, files=tuple(replace(file, sha256=None, size_bytes=None) for file in LOOSE.files))
    weights_folder(loose, from_hub(cache))
    assert hub.asked == [("toys/toy", name, COMMIT) for name in CONTENTS]


def test_a_later_fetch_is_held_to_the_first(cache: Path, hub: FakeHub) -> None:
    folder = weights_folder("toy", from_hub(cache))
    hub.contents["config.json"] = b'{"layers": 2}'
    hub.commit = "f" * 40
    (folder / "config.json").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"config\.json has SHA-256 \w{64}, not the pinned"):
        weights_folder("toy", from_hub(cache))
    assert hub.asked[-1] == ("toys/toy", "config.json", COMMIT)


def test_without_the_pins_the_folder_is_not_trusted(cache: Path, hub: FakeHub) -> None:
    (weights_folder("toy", from_hub(cache)) / "config.json").write_bytes(b"anything")
    (cache / "toy.pin.json").unlink()
    assert (weights_folder("toy", from_hub(cache)) / "config.json").read_bytes() == CONFIG
    assert pins(cache)["revision"] == COMMIT


def test_what_the_release_pins_is_never_taken_on_trust(cache: Path, hub: FakeHub) -> None:
    hub.contents["model.bin"] = hub.contents["model.bin"].upper()
    with pytest.raises(WeightsError, match=r"model\.bin has SHA-256"):
        weights_folder("toy", from_hub(cache))
    assert not (cache / "toy.pin.json").exists()


@pytest.mark.parametrize(("large", "message"), [((), "is Git blob"), (("config.json",), "has SHA-256")])
def test_the_first_fetch_must_get_what_the_hub_says_it_holds(
    cache: Path, hub: FakeHub, large: tuple[str, ...], message: str
) -> None:
    hub.large = large
    hub.sent["config.json"] = CONFIG.replace(b"1", b"2")
    with pytest.raises(WeightsError, match=rf"config\.json {message}"):
        weights_folder("toy", from_hub(cache))
    assert not (cache / "toy").exists()


def test_a_file_the_hub_does_not_hold_is_named(cache: Path, hub: FakeHub) -> None:
    del hub.contents["config.json"]
    with pytest.raises(WeightsError, match=rf"toys/toy at {COMMIT[:12]} holds no config\.json"):
        weights_folder("toy", from_hub(cache))


def test_a_hub_that_answers_with_another_commit_is_refused(
    cache: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = replace(LOOSE, hub=HubRepository("toys/toy", "e" * 40))
    other = hub.model_info("toys/toy", revision=None, files_metadata=True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: other)
    with pytest.raises(WeightsError, match=f"asked for {'e' * 40}, the hub has {COMMIT}"):
        weights_folder(fixed, from_hub(cache))


def test_a_folder_named_like_the_weights_may_be_the_first_use_too(cache: Path, hub: FakeHub, tmp_path: Path) -> None:
    write_files(tmp_path / "mine" / "toy")
    weights_folder("toy", WeightsSettings(sources=("folder",), folder=str(tmp_path / "mine"), cache=str(cache)))
    assert pins(cache)["revision"] is None
    assert pinned_weights("toy", from_hub(cache)).is_pinned
    assert hub.asked == []


def test_what_lies_in_a_folder_of_another_name_is_not_taken_on_trust(cache: Path, hub: FakeHub, tmp_path: Path) -> None:
    write_files(tmp_path / "mine")
    with pytest.raises(WeightsError, match=r"there is no \S+/mine/toy/config\.json"):
        weights_folder("toy", WeightsSettings(sources=("folder",), folder=str(tmp_path / "mine"), cache=str(cache)))


def test_pins_that_cannot_be_read_stop_everything(cache: Path, hub: FakeHub) -> None:
    weights_folder("toy", from_hub(cache))
    (cache / "toy.pin.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"toy\.pin\.json: these pins cannot be read"):
        weights_folder("toy", from_hub(cache))


def test_list_and_verify_say_who_pins_what(cache: Path, hub: FakeHub) -> None:
    (before,) = list_weights(from_hub(cache))
    assert before.pinned_by == {"model.bin": "release", "config.json": "nobody"}
    folder = weights_folder("toy", from_hub(cache))
    (after,) = verify_weights((), from_hub(cache))
    assert (after.state, after.pinned_by) == ("ready", {"model.bin": "release", "config.json": "first use"})
    (folder / "config.json").write_bytes(CONFIG.replace(b"1", b"2"))
    (damaged,) = verify_weights((), from_hub(cache))
    assert damaged.problems[0].startswith("config.json has SHA-256")
