"""Tiny data, and the one run through all four stages that tests share; nobody may change either."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.runs import TinyData, TinyRun, tiny_data
from trainer.running import run_stages


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> Iterator[None]:
    """Models this small are quicker with one thread, by far where others want the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _tokeniser_at_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports tokenise what was said; no test fetches the weights of a real encoder for it."""
    folder = tiny_checkpoint("bert", tmp_path_factory.mktemp("tokeniser"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.check_clips.backbone_folder", lambda _: folder)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def whole_run(tiny: TinyData) -> TinyRun:
    spec = tiny.spec("whole")
    told: list[tuple[str, int, int, float]] = []
    return TinyRun(spec, run_stages(spec, announce=lambda *said: told.append(said)), told)
