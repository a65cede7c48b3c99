"""The page in a real browser, over a real server: what it shows, and what people do with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from streaming.events import Event
from streaming.hub import EventHub
from streaming.server import RunningServer
from tests.fakes.browser import Visit, a_visit
from tests.fakes.proxy import a_proxy
from tests.fakes.servers import a_server
from tests.fakes.simulated_calls import SimulatedCall, simulated_calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "correct-horse-battery-staple"  # noqa: S105 - a stand-in
EVENTS_PER_S = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RunningServer]:
    async with a_server(max_sessions=50) as running:
        yield running


def happen(hub: EventHub, calls: Sequence[SimulatedCall], events: int) -> list[Event]:
    """So many events of each call, all at once."""
    told = [call.next_event(1 / EVENTS_PER_S) for _ in range(events) for call in calls]
    for event in told:
        hub.publish(event)
    return told


def a_call(name: str, seed: int = 0) -> SimulatedCall:
    return SimulatedCall(name, seed)


def words(events: Sequence[Event], session: str) -> list[str]:
    """What was said, the latest first."""
    return [e.committed for e in events if e.type == "transcript" and e.final and e.session == session][::-1]


async def said(page: Page) -> list[str]:
    return [text.strip() for text in await page.locator(".said .text").all_inner_texts()]


def card(page: Page, session: str) -> Any:
    return page.locator(f'a[href="#/call/{session}"]').locator("visible=true").last


# --- the wall


async def test_the_wall_shows_each_call_with_what_its_events_carried(browser: Browser, server: RunningServer) -> None:
    call = a_call("shown")
    told = happen(server.service.hub, [call], 40)
    latest = [event for event in told if event.type == "emotion"][-1]
    async with a_visit(browser, server.http_url) as visit:
        shown = card(visit.page, "shown")
        await expect(shown).to_contain_text("customer")
        await expect(shown).to_contain_text("not scored")
        named = latest.label or "not sure"
        await expect(shown).to_contain_text(named)
        await expect(shown).to_contain_text(f"{round(100 * latest.confidence)} %")
    server.service.hub.publish(call.end())
    assert visit.complaints == []


async def test_the_worst_call_comes_first(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        calls = simulated_calls(6)
        happen(server.service.hub, calls, 60)
        await expect(visit.page.locator(".card")).to_have_count(6)
        await visit.page.wait_for_timeout(1600)  # one more sorting
        worries = [int(text.split()[1]) for text in await visit.page.locator(".card .worry").all_inner_texts()]

    assert worries[0] - worries[-1] > 20
    assert all(one >= other - 15 for one, other in pairwise(worries))


async def test_a_call_that_ends_leaves_the_live_ones(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        stays, goes = a_call("stays"), a_call("goes")
        happen(server.service.hub, [stays, goes], 12)
        await expect(visit.page.locator(".card")).to_have_count(2)
        server.service.hub.publish(goes.end())
        await expect(visit.page.locator(".card")).to_have_count(1)
        await visit.page.get_by_role("combobox", name="Calls").select_option("ended")
        await expect(visit.page.locator(".card .session")).to_have_text(["Call goes"])


async def test_calls_can_be_searched_by_name_and_word(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        happen(server.service.hub, [a_call("alpha"), a_call("beta", 1)], 30)
        await expect(visit.page.locator(".card")).to_have_count(2)
        await visit.page.keyboard.press("/")
        await visit.page.keyboard.type("alph")
        await expect(visit.page.locator(".card .session")).to_have_text(["Call alpha"])
        await visit.page.get_by_role("searchbox").fill("no such word")
        await expect(visit.page.get_by_text("None of 2 calls passes the filter.")).to_be_visible()


async def test_a_page_that_is_paused_holds_still_and_says_what_waits(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        calls = [a_call("still")]
        happen(server.service.hub, calls, 20)
        await expect(visit.page.locator(".card")).to_have_count(1)
        await visit.page.keyboard.press("p")
        clock = await visit.page.locator(".card .clock").inner_text()
        happen(server.service.hub, calls, 60)
        await expect(visit.page.get_by_text("paused, 60 events since")).to_be_visible()
        assert await visit.page.locator(".card .clock").inner_text() == clock
        await visit.page.get_by_role("button", name="Go on").click()
        await expect(visit.page.locator(".card .clock")).not_to_have_text(clock)


async def test_an_alert_names_its_rule_and_its_call_and_can_be_dismissed(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        furious = SimulatedCall("furious", seed=3, anger=0.9)
        happen(server.service.hub, [furious], 40)
        alerts = visit.page.get_by_role("region", name="Alerts").get_by_role("listitem")
        await expect(alerts.last).to_contain_text("angry above 0.6 for 3 s customer of furious")
        await expect(visit.page.locator(".card .badge")).to_have_text("alert")
        await expect(visit.page).to_have_title("(2) MEDUSA live")  # as of any other tab
        for _ in range(await alerts.count()):
            await alerts.first.get_by_role("button", name="Dismiss").click()
        await expect(alerts).to_have_count(0)
        await expect(visit.page.locator(".card .badge")).to_have_count(0)


async def test_what_people_say_is_text_and_nothing_else(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        call = a_call("markup")
        happen(server.service.hub, [call], 2)
        server.service.hub.publish(call.hear('<img src=x onerror="document.title=1"> & <b>bold</b>'))
        await expect(card(visit.page, "markup")).to_contain_text('<img src=x onerror="document.title=1"> & <b>bold</b>')
        await card(visit.page, "markup").click()
        await expect(visit.page.locator(".said .text").first).to_contain_text("<b>bold</b>")
        assert await visit.page.title() == "MEDUSA live"
    assert visit.complaints == []


# --- one call


async def test_a_call_opens_with_its_whole_history(browser: Browser) -> None:
    async with a_server() as server:
        call = a_call("history")
        told = happen(server.service.hub, [call], 300)
        async with a_visit(browser, f"{server.http_url}/#/call/history") as visit:
            spoken = words(told, "history")
            assert len(spoken) > 20
            await expect(visit.page.locator(".said .text").nth(len(spoken) - 1)).to_be_visible()
            await expect(visit.page.locator(".said .text").last).to_contain_text(spoken[-1])
            shown = await said(visit.page)
            assert shown[-len(spoken) :] == spoken
            await expect(visit.page.get_by_role("img", name="customer: ")).to_be_visible()
            await expect(
                visit.page.get_by_text("Agents are transcribed; their emotions are not inferred")
            ).to_be_visible()
            await expect(visit.page.locator(".figures")).to_contain_text("0.64 s")
        assert visit.complaints == []


async def test_words_that_may_still_change_are_grey(browser: Browser) -> None:
    async with a_server() as server:
        call = a_call("grey")
        happen(server.service.hub, [call], 3)  # began, speaks, says something
        async with a_visit(browser, f"{server.http_url}/#/call/grey") as visit:
            tentative = visit.page.locator(".said .text i").first
            await expect(tentative).to_be_visible()
            colours = await tentative.evaluate(
                "(node) => [getComputedStyle(node).color, getComputedStyle(node.parentElement).color]"
            )
            assert colours[0] != colours[1]


async def test_a_call_that_is_not_held_any_more_says_so(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, f"{server.http_url}/#/call/nobody") as visit:
        await expect(visit.page.get_by_role("alert")).to_contain_text("there is no session nobody")


# --- connections


async def test_a_page_that_lost_its_connection_catches_up_without_a_gap(browser: Browser) -> None:
    async with a_server() as server, a_proxy(server.port) as proxy:
        calls = [a_call("kept"), a_call("gone", 1)]
        told = happen(server.service.hub, calls, 24)
        async with a_visit(browser, f"http://127.0.0.1:{proxy.port}/#/call/kept") as visit:
            await expect(visit.page.locator(".said .text").first).to_be_visible()
            asked = requests_of(visit.page)
            proxy.cut()
            told += happen(server.service.hub, calls, 60)
            server.service.hub.publish(calls[1].end())
            await expect(visit.page.locator(".connection")).to_have_text("connected")
            spoken = words(told, "kept")
            await expect(visit.page.locator(".said .text").nth(len(spoken) - 1)).to_be_visible()
            await expect(visit.page.locator(".said .text").last).to_contain_text(spoken[-1])
            assert (await said(visit.page))[-len(spoken) :] == spoken
            await visit.page.get_by_role("link", name="All calls").click()
            await expect(visit.page.locator(".card .session")).to_have_text(["Call kept"])
            assert any("session=kept&after=24" in url for url in asked)


def requests_of(page: Page) -> list[str]:
    """Addresses of WebSockets from now on, as they come."""
    asked: list[str] = []
    page.on("websocket", lambda socket: asked.append(socket.url))
    return asked


async def test_where_tokens_are_asked_for_a_person_logs_in(browser: Browser, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} wall events\n")
    async with a_server(tokens_file=str(tokens)) as server:
        happen(server.service.hub, [a_call("secret")], 20)
        async with a_visit(browser, server.http_url) as visit:
            await visit.page.get_by_label("Token").fill("wrong")
            await visit.page.get_by_role("button", name="Watch the calls").click()
            await expect(visit.page.get_by_role("alert")).to_contain_text("the token is not known here")
            await visit.page.get_by_label("Token").fill(TOKEN)
            await visit.page.keyboard.press("Enter")
            await expect(card(visit.page, "secret")).to_be_visible()
            assert TOKEN not in visit.page.url
            await visit.page.reload()
            await expect(card(visit.page, "secret")).to_be_visible()


async def test_the_microphone_of_the_browser_becomes_a_call(browser: Browser) -> None:
    async with a_server() as server:
        async with a_visit(browser, f"{server.http_url}/#/try", permissions=["microphone"]) as visit:
            await visit.page.get_by_role("button", name="Speak").click()
            await expect(visit.page.locator(".said .text").first).to_contain_text("word1")  # the fake device beeps
            await visit.page.get_by_role("button", name="Stop").click()
            await expect(visit.page.locator(".callhead .state")).to_have_text("over: client close")
        assert visit.complaints == []


# --- people


async def test_everything_can_be_done_with_the_keyboard(browser: Browser) -> None:
    async with a_server() as server, a_visit(browser, server.http_url) as visit:
        happen(server.service.hub, simulated_calls(8), 20)
        await expect(visit.page.locator(".card")).to_have_count(8)
        await visit.page.locator(".card a").first.focus()
        at = "() => [...document.querySelectorAll('.card a')].indexOf(document.activeElement)"
        columns = await visit.page.evaluate(
            "() => getComputedStyle(document.querySelector('.wall')).gridTemplateColumns.split(' ').length"
        )
        places = []
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            await visit.page.keyboard.press(key)
            places.append(await visit.page.evaluate(at))
        assert places == [1, 1 + columns, columns, 0]
        await visit.page.keyboard.press("Enter")
        await expect(visit.page.locator("article.call")).to_be_visible()
        await visit.page.keyboard.press("Escape")
        await expect(visit.page.locator(".card").first).to_be_visible()
        await visit.page.keyboard.press("t")
        assert await visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        await visit.page.keyboard.press("?")
        await expect(visit.page.get_by_role("dialog")).to_be_visible()
        await visit.page.get_by_label("keys of a single character").uncheck()
        await visit.page.keyboard.press("Escape")
        await visit.page.keyboard.press("t")
        assert await visit.page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_view_breaks_a_rule_of_accessibility(browser: Browser, source: Path, theme: str) -> None:
    axe = (source / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    async with a_server() as server:
        calls = simulated_calls(5)
        happen(server.service.hub, calls, 60)
        server.service.hub.publish(calls[4].end())
        async with a_visit(browser, server.http_url, color_scheme=theme) as visit:
            await visit.page.evaluate(axe)
            await visit.page.get_by_role("combobox", name="Calls").select_option("all")
            found = {}
            for view, ready in (("#/", ".card"), ("#/call/call-001", ".said"), ("#/try", ".try")):
                await visit.page.evaluate("(view) => { location.hash = view }", view)
                await expect(visit.page.locator(ready).first).to_be_visible()
                found[view] = await broken_rules(visit)
            await visit.page.get_by_role("button", name="Help").click()
            found["help"] = await broken_rules(visit)

    assert found == {view: [] for view in found}


async def broken_rules(visit: Visit) -> list[str]:
    result = await visit.page.evaluate("() => axe.run()")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in result["violations"]]


async def test_a_tablet_needs_no_scrolling_to_the_side(browser: Browser) -> None:
    async with a_server() as server:
        happen(server.service.hub, simulated_calls(5), 60)
        async with a_visit(browser, server.http_url, viewport={"width": 768, "height": 1024}) as visit:
            await expect(visit.page.locator(".card")).to_have_count(5)
            wide = []
            for view, ready in (("#/", ".card"), ("#/call/call-001", ".said")):
                await visit.page.evaluate("(view) => { location.hash = view }", view)
                await expect(visit.page.locator(ready).first).to_be_visible()
                await asyncio.sleep(0)
                wide.append(await visit.page.evaluate("document.documentElement.scrollWidth"))

    assert wide == [768, 768]
