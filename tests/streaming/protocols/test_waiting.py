"""A wait that others may cut short."""

from __future__ import annotations

import asyncio

import pytest

from streaming.protocols.waiting import Interruptible

PATIENCE_S = 10.0


async def test_what_is_waited_for_is_given() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    waiting = Interruptible(())
    asyncio.get_running_loop().call_soon(queue.put_nowait, "here")

    assert await waiting.wait(queue.get, PATIENCE_S) == "here"


async def test_a_task_that_ends_cuts_a_wait_short_and_nothing_is_lost() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    over = asyncio.Event()
    task = asyncio.create_task(over.wait())
    waiting = Interruptible((task,))
    asyncio.get_running_loop().call_soon(over.set)

    assert await waiting.wait(queue.get, PATIENCE_S) is None
    queue.put_nowait("later")
    assert await waiting.wait(queue.get, PATIENCE_S) == "later"


async def test_a_task_that_ends_between_two_waits_cuts_none_short() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(asyncio.Event().wait())
    waiting = Interruptible((task,))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    asyncio.get_running_loop().call_soon(queue.put_nowait, "here")

    assert await waiting.wait(queue.get, PATIENCE_S) == "here"


async def test_time_that_is_up_is_said() -> None:
    with pytest.raises(TimeoutError):
        await Interruptible(()).wait(asyncio.Event().wait, 0.0)


async def test_what_is_there_is_given_even_where_there_is_no_time() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    queue.put_nowait("here")

    assert await Interruptible(()).wait(queue.get, 0.0) == "here"
