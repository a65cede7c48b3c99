"""The dashboard in a real browser while the demo runs: it shows what the events carried."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect

from models.backbones.text_source import text_sources
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, compile_engine
from streaming.config import Settings
from streaming.conversation import load_conversation
from streaming.demo import demo_settings, run_demo
from streaming.events import EmotionEvent, Event, TranscriptEvent
from streaming.recognition.recognizer import load_recognizer
from streaming.server import RunningServer
from tests.fakes.browser import a_browser, a_visit

pytestmark = pytest.mark.weights


async def test_the_page_shows_the_call_the_words_and_the_emotions_of_the_demo() -> None:
    bundle = load_bundle(shipped_bundle())
    compile_engine(Order(bundle, text=text_sources(bundle)))
    settings = demo_settings(Settings())
    events: list[Event] = []
    looking: list[asyncio.Task[None]] = []

    async with a_browser() as browser, a_visit(browser, "about:blank") as visit:

        def look(server: RunningServer) -> None:
            looking.append(asyncio.create_task(_open_call(visit.page, server.http_url)))

        await run_demo(
            settings,
            load_conversation(),
            lambda: load_recognizer(settings),
            follow=events.append,
            on_ready=look,
            paced=False,
        )
        await looking[0]
        finals = [e for e in events if isinstance(e, TranscriptEvent) and e.final]
        await expect(visit.page.locator(".said .latency")).to_have_count(len(finals))
        said = sorted(await visit.page.locator(".said .text").all_inner_texts())
        felt = sorted(await visit.page.locator(".said .chip").all_inner_texts())

    assert [text.strip() for text in said] == sorted(event.committed for event in finals)
    emotions = [event for event in events if isinstance(event, EmotionEvent) and event.final]
    assert felt == sorted(_chip(event) for event in emotions)
    assert visit.complaints == []


async def _open_call(page: Page, url: str) -> None:
    """Opens the page, and on it the one call that there is."""
    await page.goto(f"{url}/")
    await page.locator(".card a").click()
    await expect(page.locator("article.call")).to_be_visible()


def _chip(event: EmotionEvent) -> str:
    best = max(event.scores, key=lambda label: event.scores[label])
    share = f"{round(100 * event.confidence)} %"
    return f"{event.label} {share}" if event.label else f"not sure {best} {share}"
