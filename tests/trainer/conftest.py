"""Tiny data, and the one run through all four stages that tests share; nobody may change either."""

from __future__ import annotations

import pytest

from tests.fakes.runs import TinyData, TinyRun, tiny_data
from trainer.running import run_stages


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def whole_run(tiny: TinyData) -> TinyRun:
    spec = tiny.spec("whole")
    told: list[tuple[str, int, int, float]] = []
    return TinyRun(spec, run_stages(spec, announce=lambda *said: told.append(said)), told)
