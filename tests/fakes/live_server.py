"""A server as `medusa bench live` starts one, with a fake recogniser: `python -m tests.fakes.live_server`."""

from __future__ import annotations

import asyncio
import signal

from streaming.server import print_addresses
from tests.fakes.servers import a_server


async def run() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with a_server() as server:
        print_addresses(server)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(run())
