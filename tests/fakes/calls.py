"""A call, and what is said of it however it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from streaming.events import Event
from tests.fakes.servers import PATIENCE_S
from tests.fakes.shell import pcm, silence, speech

CALL = pcm(speech(0.7), silence(1.0), speech(1.3), silence(0.9), speech(0.4), silence(0.8))
BYTES_PER_SAMPLE = 2
CHUNK_BYTES = 3200
"""A tenth of a second, as audio is heard in such steps."""


def plain(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events as they are said, segment by segment, whoever says them and however soon the recogniser answered."""
    left_out = {"session", "seq", "time_s", "emitted_at", "latency", "resume"}
    numbered = [event for event in events if event.type != "session.resumed"]
    if [event.seq for event in numbered] != list(range(1, len(numbered) + 1)):
        raise ValueError(f"events are missing among {[event.seq for event in numbered]}")
    segments = [getattr(event, "segment", 0 if event.seq == 1 else len(numbered)) for event in numbered]
    told = [event.model_dump(exclude=left_out) for event in numbered]
    return [event for _, event in sorted(zip(segments, told, strict=True), key=lambda pair: pair[0])]


async def turns(until_: Callable[[], bool]) -> None:
    """Lets the loop turn until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not until_():  # noqa: ASYNC110 - nobody says it
            await asyncio.sleep(0)
