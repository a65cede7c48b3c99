"""Processes that a benchmark starts are gone when it is done with them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from benchmarks.children import child, complaint, stop
from benchmarks.errors import BenchmarkError
from benchmarks.live_server import ServerKind, measured_server

PATIENCE_S = 30.0
STUBBORN = "tests.fakes.stubborn"


def there(pid: int) -> bool:
    """Whether a process is there, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_that_does_not_stop_is_killed_and_no_zombie_is_left(tmp_path: Path) -> None:
    async with child(STUBBORN, folder=tmp_path, stderr=tmp_path / "log") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"ignoring\n"
        assert there(process.pid)
        await stop(process, patience_s=0.1)

    assert process.returncode == -9
    assert not there(process.pid)


async def test_a_child_is_stopped_when_what_it_was_started_for_is_cancelled(tmp_path: Path) -> None:
    started: asyncio.Queue[int] = asyncio.Queue()

    async def hold() -> None:
        async with child("http.server", "0", folder=tmp_path, stderr=tmp_path / "log") as process:
            started.put_nowait(process.pid)
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    pid = await asyncio.wait_for(started.get(), PATIENCE_S)
    holding.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(holding, PATIENCE_S)
    assert not there(pid)


async def test_a_child_is_in_a_session_of_its_own_so_that_ctrl_c_reaches_it_through_us(tmp_path: Path) -> None:
    async with child("http.server", "0", folder=tmp_path, stderr=tmp_path / "log") as process:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


async def test_a_server_that_does_not_start_is_an_error_that_says_why(tmp_path: Path) -> None:
    kind = ServerKind("no_such_module", ())

    with pytest.raises(BenchmarkError, match=r"did not start: .*No module named no_such_module"):
        async with measured_server(kind, tmp_path, {}):
            pass


def test_the_last_thing_said_is_the_complaint(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Traceback\n\nValueError: wrong\n\n", encoding="utf-8")
    (tmp_path / "empty").write_text("", encoding="utf-8")

    assert complaint(tmp_path / "log") == "ValueError: wrong"
    assert complaint(tmp_path / "empty") == "it said nothing"
