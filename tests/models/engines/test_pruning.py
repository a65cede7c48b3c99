"""Room in the cache: the last used stay."""

from __future__ import annotations

import os
from pathlib import Path

from models.engines.store import EngineStore


def kept(root: Path, key: str, used_s: float | None = None) -> EngineStore:
    """An engine; said to be used at a time, in seconds since 1970."""
    store = EngineStore(key, root)
    store.keep(key.encode(), ".onnx", {})
    if used_s is not None:
        os.utime(store.folder / "engine.json", (used_s, used_s))
    return store


def names(root: Path) -> set[str]:
    return {folder.name for folder in root.iterdir()}


def test_the_three_last_used_of_a_family_stay(tmp_path: Path) -> None:
    for number, key in enumerate(("base-onnx-fp32-a", "base-onnx-fp32-b", "base-onnx-fp32-c")):
        kept(tmp_path, key, 1000.0 + number)

    kept(tmp_path, "base-onnx-fp32-d")

    assert names(tmp_path) == {"base-onnx-fp32-b", "base-onnx-fp32-c", "base-onnx-fp32-d"}


def test_to_find_an_engine_is_to_use_it(tmp_path: Path) -> None:
    first = kept(tmp_path, "base-onnx-fp32-a", 1000.0)
    kept(tmp_path, "base-onnx-fp32-b", 1001.0)
    kept(tmp_path, "base-onnx-fp32-c", 1002.0)

    assert first.find() is not None
    kept(tmp_path, "base-onnx-fp32-d")

    assert names(tmp_path) == {"base-onnx-fp32-a", "base-onnx-fp32-c", "base-onnx-fp32-d"}


def test_other_families_are_left_alone(tmp_path: Path) -> None:
    others = {"base-tensorrt-fp16-a", "mine-onnx-fp32-a", "base-onnx-fp16-a", "base"}
    for key in others:
        kept(tmp_path, key, 1.0)

    for key in "abcde":
        kept(tmp_path, f"base-onnx-fp32-{key}")

    assert others < names(tmp_path)
    assert len(names(tmp_path) - others) == 3


def test_what_is_being_built_is_left_alone_and_what_died_is_not(tmp_path: Path) -> None:
    dead, building = (EngineStore(f"base-onnx-fp32-{name}", tmp_path) for name in ("dead", "building"))
    dead.folder.mkdir()
    (dead.folder / ".incoming-half").write_bytes(b"half of an engine")
    with building.building():
        kept(tmp_path, "base-onnx-fp32-a")
        assert names(tmp_path) == {"base-onnx-fp32-building", "base-onnx-fp32-a"}


def test_a_name_without_a_family_takes_nothing_away(tmp_path: Path) -> None:
    for key in "abcde":
        kept(tmp_path, key, 1.0)
    assert names(tmp_path) == set("abcde")
