"""A queue that ends."""

from __future__ import annotations

import asyncio

import pytest

from streaming.errors import ConnectionFailedError
from streaming.inbox import Inbox


async def test_items_come_in_order_and_then_the_end_again_and_again() -> None:
    inbox = Inbox[int](10)
    await inbox.put(1)
    await inbox.put(2)
    inbox.close()

    assert [await inbox.get(), await inbox.get()] == [1, 2]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await inbox.get()


async def test_a_failure_comes_after_what_came_before() -> None:
    inbox = Inbox[int](10)
    await inbox.put(1)
    inbox.close(ConnectionFailedError("lost"))

    assert await inbox.get() == 1
    with pytest.raises(ConnectionFailedError, match="lost"):
        await inbox.get()


async def test_whoever_waits_for_an_item_is_told_of_the_end() -> None:
    inbox = Inbox[int](10)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)

    inbox.close(ConnectionFailedError("lost"))

    with pytest.raises(ConnectionFailedError):
        await waiting


async def test_a_full_inbox_makes_the_sender_wait_until_one_is_taken() -> None:
    inbox = Inbox[int](1)
    await inbox.put(1)
    putting = asyncio.create_task(inbox.put(2))
    await asyncio.sleep(0)
    assert not putting.done()

    taken = [await inbox.get(), await inbox.get()]

    assert taken == [1, 2]
    assert putting.done()


async def test_who_stops_waiting_has_taken_nothing() -> None:
    inbox = Inbox[int](1)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    waiting.cancel()

    await inbox.put(1)

    assert await inbox.get() == 1
