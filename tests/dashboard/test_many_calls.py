"""The page with 200 calls of 5 events a second each: how long it holds the browser up, and how much memory it takes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from playwright.async_api import Browser, expect

from tests.fakes.browser import a_visit
from tests.fakes.servers import a_server
from tests.fakes.simulated_calls import publish, simulated_calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALLS = 200
EVENTS_PER_S = 5
WATCHED_S = 6.0
LONGEST_TASK_MS = 100
MOST_MIB = 300
_US_PER_MS = 1000
_KIB_PER_MIB = 1024


@dataclass
class MainThread:
    """What the thread of the page did in one go, at its longest, in milliseconds."""

    process: int
    cpu_ms: float
    """Time that it ran: what the page asks for."""
    wall_ms: float
    """With the time that it waited for a core, which here it shares with the server and its calls."""

    @classmethod
    def of(cls, trace: Path) -> Self:
        """Reads it out of a trace of the browser: the renderer's main thread that did most is the page's."""
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
        named = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
        tasks: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for event in events:
            thread = (event.get("pid", 0), event.get("tid", 0))
            if event.get("ph") == "X" and event["name"].endswith("RunTask") and thread in named:
                tasks.setdefault(thread, []).append((event.get("tdur", event["dur"]), event["dur"]))
        (process, _), done = max(tasks.items(), key=lambda item: sum(cpu for cpu, _ in item[1]))
        return cls(process, max(cpu for cpu, _ in done) / _US_PER_MS, max(wall for _, wall in done) / _US_PER_MS)


def private_mib(process: int) -> float:
    """Memory that a process shares with no other (Linux)."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE)) / _KIB_PER_MIB


async def test_two_hundred_calls_do_not_hold_the_page_up(
    browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.json"
    async with a_server(max_sessions=CALLS) as server, a_visit(browser, server.http_url) as visit:
        await expect(visit.page.locator(".connection")).to_have_text("connected")
        await browser.start_tracing(page=visit.page, path=trace, categories=["toplevel"])
        calls = simulated_calls(CALLS)
        told = await publish(server.service.hub, calls, events_per_s=EVENTS_PER_S, for_s=WATCHED_S)
        await browser.stop_tracing()
        await expect(visit.page.locator(".card")).to_have_count(CALLS)
        clocks = await visit.page.locator(".card .clock").all_text_contents()
        thread = MainThread.of(trace)
        memory_mib = private_mib(thread.process)

    with capsys.disabled():
        print(  # noqa: T201 - the figures are asked for
            f"\n{CALLS} calls, {told} events in {WATCHED_S:g} s: longest task {thread.cpu_ms:.0f} ms of the page's own,"
            f" {thread.wall_ms:.0f} ms with waiting for a core; {memory_mib:.0f} MiB private memory"
        )
    assert told == pytest.approx(CALLS * EVENTS_PER_S * WATCHED_S, rel=0.05)
    assert set(clocks) <= {"0:05", "0:06"}  # all cards are as new as the events
    assert thread.cpu_ms < LONGEST_TASK_MS
    assert memory_mib < MOST_MIB
    assert visit.complaints == []
