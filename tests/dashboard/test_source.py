"""The page's source: it is sound, and what is committed is what it builds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.dashboard.conftest import SOURCE, npm


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_page_is_what_the_source_builds(source: Path) -> None:
    npm(source, "run", "build")

    assert files(source / "built") == files(SOURCE / "built"), (
        "run `make dashboard` and commit streaming/dashboard/built"
    )


def test_the_types_of_events_are_those_of_the_committed_schema(source: Path) -> None:
    before = (source / "src" / "wire" / "events.ts").read_text(encoding="utf-8")

    npm(source, "run", "types")

    assert (source / "src" / "wire" / "events.ts").read_text(encoding="utf-8") == before


def test_its_types_are_sound(source: Path) -> None:
    npm(source, "run", "check")


def test_its_own_tests_pass(source: Path) -> None:
    printed = npm(source, "test")

    assert "fail 0" in printed
    assert "pass 0" not in printed


def test_the_lock_names_no_host(source: Path) -> None:
    lock = json.loads((source / "package-lock.json").read_text(encoding="utf-8"))

    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
