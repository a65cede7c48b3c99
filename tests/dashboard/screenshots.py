"""Takes the pictures that the documentation shows of the dashboard.

`python -m tests.dashboard.screenshots docs/dashboard`: the wall is of simulated calls, since a demo has only one; the
call is the demo's, played at the pace of speech through the real recogniser.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page, expect

from streaming.config import Settings
from streaming.conversation import load_conversation
from streaming.demo import demo_settings, run_demo
from streaming.recognition.recognizer import load_recognizer
from streaming.server import RunningServer
from tests.fakes.browser import a_browser, a_visit
from tests.fakes.servers import a_server
from tests.fakes.simulated_calls import publish, simulated_calls

_CALLS = 24
_WALL_S = 40.0
_CALL_S = 45.0
_SETTLE_MS = 600
_SIZE = {"width": 1280, "height": 860}


async def main(folder: Path) -> None:
    """Writes four pictures."""
    async with a_browser() as browser:
        async with a_server(max_sessions=_CALLS) as server, a_visit(browser, server.http_url, viewport=_SIZE) as visit:
            await publish(server.service.hub, simulated_calls(_CALLS), events_per_s=4, for_s=_WALL_S)
            await _both(visit.page, folder, "wall")
        async with a_visit(browser, "about:blank", viewport=_SIZE) as visit:
            await _demo(visit.page, folder)


async def _demo(page: Page, folder: Path) -> None:
    looking: list[asyncio.Task[None]] = []

    async def look(url: str) -> None:
        await page.goto(url)
        await page.locator(".card a").click()
        await expect(page.locator("article.call")).to_be_visible()
        await asyncio.sleep(_CALL_S)
        await _both(page, folder, "call")

    def ready(server: RunningServer) -> None:
        looking.append(asyncio.create_task(look(f"{server.http_url}/")))

    settings = demo_settings(Settings())
    await run_demo(settings, load_conversation(), lambda: load_recognizer(settings), on_ready=ready)
    await looking[0]


async def _both(page: Page, folder: Path, name: str) -> None:
    for theme in ("light", "dark"):
        if await page.evaluate("document.documentElement.dataset.theme") != theme:
            await page.keyboard.press("t")
        await page.wait_for_timeout(_SETTLE_MS)
        await page.screenshot(path=folder / f"{name}-{theme}.png")


if __name__ == "__main__":
    chosen = Path(sys.argv[1])
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(chosen))
