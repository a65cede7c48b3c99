from __future__ import annotations

import os
import subprocess
import sys

import pytest

from models.numeric_threads import environment_of, one_numpy_thread, threads_each


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [threads_each(jobs) for jobs in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]


def test_numpy_has_one_thread_however_many_the_others_have() -> None:
    assert environment_of(4)["OMP_NUM_THREADS"] == "4"
    assert environment_of(4)["OPENBLAS_NUM_THREADS"] == "1"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    one_numpy_thread()
    assert (os.environ["OPENBLAS_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "1")


def test_no_command_loads_numpy_before_it_is_told() -> None:
    commands = (
        "trainer.cli",
        "trainer.training_cli",
        "trainer.evaluate_cli",
        "streaming.cli",
        "streaming.analyze_cli",
        "benchmarks.cli",
    )
    loaded = f"import sys, models.console, {', '.join(commands)}"
    done = subprocess.run(
        [sys.executable, "-c", f"{loaded}; print('numpy' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
