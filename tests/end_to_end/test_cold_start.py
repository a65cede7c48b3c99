"""Serving from a compiled engine: soon ready, and without PyTorch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from models.backbones.text_source import text_sources
from models.bundle import load_bundle, shipped_bundle
from models.compile import Order, compile_engine
from tests.fakes.broker import free_port

pytestmark = pytest.mark.weights

READY_WITHIN_S = 4.0
TRIES = 5
"""Another process may have had the processors: the best of these counts."""
PATIENCE_S = 60.0
CLIP = Path(__file__).parents[2] / "streaming" / "conversation"

# Runs a command in this very process, and says which of the heavy libraries it has imported.
HEAVY = """
import atexit, sys
heavy = {"torch", "transformers"}
atexit.register(lambda: print("imported:", *sorted(heavy & set(sys.modules)), file=sys.stderr, flush=True))
from models.console import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    bundle = load_bundle(shipped_bundle())
    compile_engine(Order(bundle, text=text_sources(bundle)))


def imported(stderr: str) -> list[str]:
    (found,) = [line for line in stderr.splitlines() if line.startswith("imported:")]
    return found.split()[1:]


def served(port: int) -> tuple[float, str]:
    """Starts a server, waits until it is ready and stops it: how long that took, and what it wrote."""
    started_s = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-c", HEAVY, "serve", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        # It says so when it is; a server that ends before closes what is read here.
        assert "ready\n" in iter(server.stdout.readline, ""), server.communicate()[1]
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        ready_s = time.perf_counter() - started_s
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=PATIENCE_S)
    finally:
        server.kill()
    return ready_s, told


def test_a_server_is_ready_within_four_seconds_and_imports_no_pytorch() -> None:
    took = []
    for _ in range(TRIES):
        ready_s, told = served(free_port())
        assert imported(told) == []
        took.append(ready_s)
        if ready_s < READY_WITHIN_S:
            break
    assert min(took) < READY_WITHIN_S, took


def test_a_file_is_analysed_without_pytorch() -> None:
    clip = sorted(CLIP.rglob("*.flac"))[0]
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, "analyze", str(clip), "--json"], capture_output=True, text=True, check=True
    )
    assert imported(done.stderr) == []
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) >= 12
    assert all(sum(row["scores"].values()) == pytest.approx(1, abs=1e-3) for row in rows)
