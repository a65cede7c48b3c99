"""What tests of the dashboard share: one browser, and the page's source with everything that builds it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.fakes.browser import a_browser
from tests.fakes.shell import pcm, silence, speech

SOURCE = Path(__file__).parents[2] / "streaming" / "dashboard"


def npm(folder: Path, *arguments: str) -> str:
    """What npm prints; fails with it where npm fails."""
    command = [sys.executable, str(SOURCE / "npm.py"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page's source with its packages, as they are locked."""
    streaming = tmp_path_factory.mktemp("source") / "streaming"
    shutil.copytree(SOURCE, streaming / "dashboard", ignore=shutil.ignore_patterns("node_modules", "built"))
    shutil.copy(SOURCE.parent / "events.schema.json", streaming)
    npm(streaming / "dashboard", "ci", "--silent", "--prefer-offline")
    return streaming / "dashboard"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Chromium, started once for a file of tests, with a microphone that hears somebody speak again and again."""
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    with wave.open(str(heard), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(pcm(speech(0.8), silence(1.0)))
    flags = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={heard}")
    async with a_browser(flags) as browser:
        yield browser
