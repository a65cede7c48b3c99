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
