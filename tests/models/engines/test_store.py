"""Engines in the cache: whatever happens while one is written, nothing half-written is ever loaded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from models.engines.store import EngineStore
from models.engines.tensorrt_memory import compiled_kernels

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore("base-onnx", tmp_path)


def program(code: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    """Another process with the same store at hand, as `store`; it prints a line when it is where the test wants it."""
    prelude = f"""
        import os, signal, sys
        from pathlib import Path
        from models.engines.store import EngineStore
        from models.errors import EngineError
        store = EngineStore("base-onnx", Path({str(folder)!r}))
    """
    source = textwrap.dedent(prelude) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_is_kept_is_found(store: EngineStore) -> None:
    assert store.find() is None
    path = store.keep(CONTENT, ".onnx", {"precision": "fp32"})
    found = store.find()
    assert found is not None
    assert (found.path, found.content, found.facts) == (path, CONTENT, {"precision": "fp32"})


def test_a_new_engine_takes_the_place_of_the_old(store: EngineStore) -> None:
    store.keep(CONTENT, ".onnx", {})
    path = store.keep(CONTENT[::-1], ".onnx", {})
    found = store.find()
    assert found is not None
    assert found.content == CONTENT[::-1]
    assert {p.name for p in store.folder.iterdir()} == {"engine.json", path.name}


def test_kernels_go_with_the_engine_they_were_compiled_for(store: EngineStore) -> None:
    kernels = compiled_kernels(store.keep(CONTENT, ".engine", {}))
    kernels.keep(b"compiled")
    store.keep(CONTENT, ".engine", {"checked": True})
    assert kernels.recall() == b"compiled"
    store.keep(CONTENT[::-1], ".engine", {})
    assert kernels.recall() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("engine-*")).write_bytes(CONTENT[:-1]),
        lambda folder: next(folder.glob("engine-*")).write_bytes(b""),
        lambda folder: next(folder.glob("engine-*")).unlink(),
        lambda folder: (folder / "engine.json").write_text("{"),
        lambda folder: (folder / "engine.json").write_text("[]"),
        lambda folder: (folder / "engine.json").write_text('{"file": "engine.json", "sha256": "0", "facts": {}}'),
        lambda folder: (folder / "engine.json").unlink(),
    ],
)
def test_a_damaged_engine_is_not_found(store: EngineStore, damage: Callable[[Path], object]) -> None:
    store.keep(CONTENT, ".onnx", {})
    damage(store.folder)
    assert store.find() is None


def keep_with_weights(store: EngineStore, weights: bytes = b"weights", content: bytes = CONTENT) -> Path:
    with store.workplace() as place:
        (place / f"weights-{len(weights)}").write_bytes(weights)
        return store.keep(content, ".onnx", {}, place / f"weights-{len(weights)}")


def test_weights_in_a_file_of_their_own_are_kept_and_found(store: EngineStore) -> None:
    path = keep_with_weights(store)
    found = store.find()
    assert found is not None
    assert (found.path, found.content, found.weights) == (path, CONTENT, store.folder / "weights-7")
    assert (store.folder / "weights-7").read_bytes() == b"weights"
    assert {p.name for p in store.folder.iterdir()} == {"engine.json", path.name, "weights-7"}


def test_an_engine_is_kept_again_with_the_weights_it_has(store: EngineStore) -> None:
    keep_with_weights(store)
    found = store.find()
    assert found is not None
    store.keep(found.content, ".onnx", {"rows": 12}, found.weights)
    again = store.find()
    assert again is not None
    assert (again.weights, again.facts) == (found.weights, {"rows": 12})


def test_weights_of_an_earlier_engine_go_with_it(store: EngineStore) -> None:
    keep_with_weights(store)
    path = keep_with_weights(store, weights=b"other weights")
    assert {p.name for p in store.folder.iterdir()} == {"engine.json", path.name, "weights-13"}
    path = store.keep(CONTENT, ".onnx", {})
    assert {p.name for p in store.folder.iterdir()} == {"engine.json", path.name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("weights-*")).write_bytes(b"Weights"),
        lambda folder: next(folder.glob("weights-*")).write_bytes(b""),
        lambda folder: next(folder.glob("weights-*")).unlink(),
        lambda folder: next(folder.glob("engine-*")).write_bytes(CONTENT[:-1]),
        lambda folder: next(folder.glob("engine-*")).unlink(),
    ],
)
def test_an_engine_of_two_files_of_which_one_is_damaged_is_not_found(
    store: EngineStore, damage: Callable[[Path], object]
) -> None:
    keep_with_weights(store)
    damage(store.folder)
    assert store.find() is None


def test_a_stamp_that_speaks_of_weights_otherwise_than_it_should_leads_nowhere(
    store: EngineStore, tmp_path: Path
) -> None:
    keep_with_weights(store)
    stamp = json.loads((store.folder / "engine.json").read_text())
    for weights in ("weights-7", {"file": "weights-7"}, ["weights-7"]):
        (store.folder / "engine.json").write_text(json.dumps({**stamp, "weights": weights}))
        assert store.find() is None
    elsewhere = tmp_path / "weights-7"
    (store.folder / "weights-7").rename(elsewhere)
    entry = {**stamp["weights"], "file": str(elsewhere)}
    (store.folder / "engine.json").write_text(json.dumps({**stamp, "weights": entry}))
    assert store.find() is None


def test_a_process_killed_between_weights_and_engine_leaves_the_engine_that_was_there(
    store: EngineStore, tmp_path: Path
) -> None:
    keep_with_weights(store)
    before = store.find()
    code = """
        true_sync, calls = os.fsync, []
        def stop(handle):
            calls.append(handle)
            if len(calls) == 2:
                print("weights moved", flush=True)
                signal.pause()
            true_sync(handle)
        os.fsync = stop
        with store.building(), store.workplace() as place:
            (place / "weights-5").write_bytes(b"other")
            store.keep(b"other" * 1000, ".onnx", {}, place / "weights-5")
    """
    process = program(code, tmp_path)
    assert line(process) == "weights moved"
    process.kill()
    process.wait()
    assert (store.folder / "weights-5").is_file()
    assert store.find() == before
    keep_with_weights(store)
    names = {p.name.partition("-")[0] for p in store.folder.iterdir()}
    assert names == {"engine.json", "engine", "weights", ".lock"}
    assert not (store.folder / "weights-5").exists()


def test_a_workplace_goes_with_all_in_it(store: EngineStore) -> None:
    with store.workplace() as place:
        (place / "graph").write_bytes(b"")
        assert place.is_relative_to(store.folder)
    assert not place.exists()


def test_a_stamp_leads_nowhere_but_into_its_own_folder(store: EngineStore, tmp_path: Path) -> None:
    path = store.keep(CONTENT, ".onnx", {})
    elsewhere = tmp_path / path.name
    path.rename(elsewhere)
    stamp = json.loads((store.folder / "engine.json").read_text())
    (store.folder / "engine.json").write_text(json.dumps({**stamp, "file": str(elsewhere)}))
    assert store.find() is None


def test_a_process_killed_while_it_writes_leaves_the_engine_that_was_there(store: EngineStore, tmp_path: Path) -> None:
    store.keep(CONTENT, ".onnx", {})
    before = store.find()
    code = """
        def stop(_):
            print("writing", flush=True)
            signal.pause()
        os.fsync = stop
        with store.building():
            store.keep(b"other" * 1000, ".onnx", {})
    """
    process = program(code, tmp_path)
    assert line(process) == "writing"
    assert [p for p in store.folder.iterdir() if p.name.startswith(".incoming-")]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert store.find() == before
    with store.building():
        store.keep(CONTENT[::-1], ".onnx", {})
    assert [p.name for p in store.folder.iterdir() if p.name.startswith(".incoming-")] == []


def test_a_process_killed_between_engine_and_stamp_leaves_the_engine_that_was_there(
    store: EngineStore, tmp_path: Path
) -> None:
    store.keep(CONTENT, ".onnx", {})
    before = store.find()
    code = """
        true_sync, calls = os.fsync, []
        def stop(handle):
            calls.append(handle)
            if len(calls) == 2:
                print("stamping", flush=True)
                signal.pause()
            true_sync(handle)
        os.fsync = stop
        store.keep(b"other" * 1000, ".onnx", {})
    """
    process = program(code, tmp_path)
    assert line(process) == "stamping"
    process.kill()
    process.wait()
    assert len(list(store.folder.glob("engine-*.onnx"))) == 2
    assert store.find() == before


def test_of_two_processes_one_builds_and_the_other_waits_and_finds_it(store: EngineStore, tmp_path: Path) -> None:
    code = """
        print("ready", flush=True)
        sys.stdin.readline()
        with store.building():
            found = store.find()
            if found is None:
                print("builds", flush=True)
                sys.stdin.readline()
                store.keep(b"engine" * 1000, ".onnx", {})
            else:
                print("finds", flush=True)
    """
    first, second = (program(code, tmp_path, stdin=subprocess.PIPE) for _ in range(2))
    for process in (first, second):
        assert line(process) == "ready"
        assert process.stdin is not None
    assert first.stdin is not None
    assert second.stdin is not None
    first.stdin.write("go\n")
    first.stdin.flush()
    assert line(first) == "builds"
    second.stdin.write("go\n")
    second.stdin.flush()
    first.stdin.write("done\n")
    first.stdin.flush()
    assert line(second) == "finds"
    for process in (first, second):
        process.communicate()
        assert process.returncode == 0


def test_on_a_full_disk_the_old_engine_stays_and_no_rest_is_left(store: EngineStore, tmp_path: Path) -> None:
    store.keep(CONTENT, ".onnx", {})
    before = store.find()
    # The kernel ends a write beyond this size, as it would on a full disk; the signal that comes along is ignored.
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.keep(b"x" * 100_000, ".onnx", {})
        except EngineError as error:
            print(error, flush=True)
    """
    process = program(code, tmp_path)
    told = line(process)
    process.wait()
    assert "cannot be kept in" in told
    assert "make room, or point MEDUSA_CACHE" in told
    assert store.find() == before
    assert [p.name for p in store.folder.iterdir() if p.name.startswith(".incoming-")] == []


def test_a_cache_that_can_only_be_read_is_read_and_says_so_when_written(tmp_path: Path) -> None:
    store = EngineStore("base-onnx", tmp_path / "cache")
    store.keep(CONTENT, ".onnx", {})
    folders = [store.folder, tmp_path / "cache", tmp_path, *tmp_path.parents[:2]]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    # Nothing is read-only to the administrator: whoever runs this as one becomes somebody else.
    code = """
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with store.building():
            print(store.find() is not None, flush=True)
            try:
                store.keep(b"x", ".onnx", {})
            except EngineError as error:
                print(error, flush=True)
        other = EngineStore("another", store.folder.parent)
        with other.building():
            print(other.find(), flush=True)
    """
    try:
        process = program(code, tmp_path / "cache")
        assert line(process) == "True"
        assert "cannot be kept in" in line(process)
        assert line(process) == "None"
        process.communicate()
        assert process.returncode == 0
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)
