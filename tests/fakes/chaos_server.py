"""A server as `medusa bench chaos` starts one, with a fake recogniser.

It is run as `python -m tests.fakes.chaos_server --port 8765`. With `--seed` it has faults inside.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from benchmarks.chaos_server import FAULTS_FILE, at_port
from benchmarks.chaos_server import run as run_faulty
from streaming.config import Settings
from streaming.server import print_addresses, running_server
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.vad import LoudnessVad


async def run(settings: Settings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with running_server(settings, FakeRecognizer, vad=LoudnessVad) as server:
        print_addresses(server)
        await stopped.wait()


if __name__ == "__main__":
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    settings = at_port(Settings(), int(given["--port"]))
    if "--seed" in given:
        counts = asyncio.run(run_faulty(settings, FakeRecognizer, int(given["--seed"]), vad=LoudnessVad))
        Path(FAULTS_FILE).write_text(json.dumps(counts), encoding="utf-8")
    else:
        asyncio.run(run(settings))
