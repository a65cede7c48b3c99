"""A real browser without a window, and what tests ask of its pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

PATIENCE_MS = 15_000


def chromium() -> str:
    """The browser's program; `tests/system_packages.sh` installs it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("no Chromium is installed: run sh tests/system_packages.sh")


@contextlib.asynccontextmanager
async def a_browser(flags: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Chromium for as long as the block runs."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visit:
    """A page that somebody looks at."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    """What the page or the browser found wrong: errors, warnings, violations of the security policy."""

    def hear(self, message: ConsoleMessage) -> None:
        """Keeps what the browser complains of."""
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@contextlib.asynccontextmanager
async def a_visit(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visit]:
    """A page in a profile of its own."""
    chosen = {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light"} | options
    context = await browser.new_context(**chosen)
    context.set_default_timeout(PATIENCE_MS)
    try:
        visit = Visit(context, await context.new_page())
        visit.page.on("console", visit.hear)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        await visit.page.goto(url)
        yield visit
    finally:
        await context.close()
