"""What a server takes while it runs for long, looked at every few seconds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

from benchmarks.errors import BenchmarkError
from benchmarks.live_server import MeasuredServer
from benchmarks.long_runs import Seconds
from benchmarks.process_figures import process_usage

LOOK_EVERY_S: Final = 5.0
_HTTP_PATIENCE_S: Final = 5.0
_GAUGE: Final = re.compile(r"^(medusa_\w+) ([0-9.eE+-]+)$", re.MULTILINE)
_MIB: Final = 2**20
_ASK_EVERY_S: Final = 0.2
_SETTLE_S: Final = 1.0
"""What connections that are over may take to be gone."""


@dataclass(frozen=True, slots=True)
class Look:
    """A server at one moment. Figures that could not be had are None."""

    at_s: float
    """On the run's clock."""
    cpu_s: float | None
    """Processor time since the process began."""
    rss_mib: float | None
    descriptors: int | None
    threads: int | None
    tasks: int | None
    queue_depth: int | None
    sessions: int | None


def gauges(exposition: str) -> Mapping[str, float]:
    """The figures without labels of a text in Prometheus's format."""
    return {name: float(value) for name, value in _GAUGE.findall(exposition)}


async def look(server: MeasuredServer, at_s: float) -> Look:
    """Looks once.

    Args:
        server: which.
        at_s: the moment, as it is to be noted.
    """
    # One after the other: the connection that asks for the metrics is not to be among the descriptors.
    usage = await asyncio.to_thread(process_usage, server.pid)
    told = gauges(await asyncio.to_thread(_exposition, server.url))

    def whole(name: str) -> int | None:
        return int(told[name]) if name in told else None

    return Look(
        at_s=round(at_s, 3),
        cpu_s=None if usage is None else usage.cpu_s,
        rss_mib=None if usage is None else round(usage.rss_bytes / _MIB, 2),
        descriptors=None if usage is None else usage.descriptors,
        threads=None if usage is None else usage.threads,
        tasks=whole("medusa_tasks"),
        queue_depth=whole("medusa_queue_depth"),
        sessions=whole("medusa_sessions"),
    )


async def keep_looking(
    server: MeasuredServer, looks: list[Look], passed: Seconds, *, every_s: float = LOOK_EVERY_S
) -> None:
    """Looks until cancelled, or until the server is gone.

    Args:
        server: which.
        looks: is given what is seen; its clock begins now.
        passed: told of the time.
        every_s: between two looks.
    """
    began_s = last_s = time.monotonic()
    while server.fault is None:
        await asyncio.sleep(every_s)
        now_s = time.monotonic()
        passed(now_s - last_s)
        last_s = now_s
        looks.append(await look(server, now_s - began_s))


async def when_idle(server: MeasuredServer, patience_s: float) -> Look:
    """Waits until no session is open and nothing is computed, then looks.

    Raises:
        BenchmarkError: that takes too long.
    """
    try:
        async with asyncio.timeout(patience_s):
            while True:
                seen = await look(server, 0.0)
                if seen.sessions == 0 and seen.queue_depth == 0:
                    break
                await asyncio.sleep(_ASK_EVERY_S)
            await asyncio.sleep(_SETTLE_S)
            return await look(server, 0.0)
    except TimeoutError:
        raise BenchmarkError(f"the server was not idle {patience_s:g} s after the last session") from None


def _exposition(url: str) -> str:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_HTTP_PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()
