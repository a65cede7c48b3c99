"""Checkpoints: everything comes back as it was, and what is none is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainer.checkpoints import Checkpoint, load_checkpoint, optimiser_memory, restore_optimiser, save_checkpoint
from trainer.errors import RecipeError


def checkpoint() -> Checkpoint:
    weights = {"layer.weight": torch.randn(3, 2), "layer.bias": torch.randn(3)}
    memory = {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(3, 2)}, 11: {"exp_avg": torch.randn(3)}}
    # The best weights may be the model's own tensors.
    return Checkpoint(
        weights, weights, memory, {"dropout": torch.get_rng_state()}, {"number": 3, "rng": {"state": {"state": 2**120}}}
    )


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = checkpoint()
    save_checkpoint(tmp_path / "deep" / "one.safetensors", kept)
    found = load_checkpoint(tmp_path / "deep" / "one.safetensors")
    assert found is not None
    for mine, theirs in ((found.model, kept.model), (found.best, kept.best), (found.chance, kept.chance)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert {n: set(m) for n, m in found.optimiser.items()} == {0: {"step", "exp_avg"}, 11: {"exp_avg"}}
    assert torch.equal(found.optimiser[11]["exp_avg"], kept.optimiser[11]["exp_avg"])
    assert found.progress == kept.progress


def test_where_there_is_none_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none") is None


def test_a_later_one_replaces_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    for _ in range(2):
        save_checkpoint(path, checkpoint())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_damaged_one_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"one\.safetensors: damaged .*; delete it to begin this stage again"):
        load_checkpoint(path)


def test_weights_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(RecipeError, match="not a checkpoint of this release"):
        load_checkpoint(tmp_path / "weights.safetensors")


def test_an_optimiser_goes_on_as_if_nothing_had_happened() -> None:
    def trained(model: nn.Linear, optimiser: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimiser.zero_grad()
            model(torch.ones(1, 2)).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    whole = nn.Linear(2, 1)
    half = nn.Linear(2, 1)
    half.load_state_dict(whole.state_dict())
    first, second = (torch.optim.AdamW(m.parameters(), lr=0.1) for m in (whole, half))
    trained(whole, first, 6)
    trained(half, second, 3)
    again = torch.optim.AdamW(half.parameters(), lr=0.1)
    restore_optimiser(again, optimiser_memory(second))
    trained(half, again, 3)
    assert torch.equal(whole.weight, half.weight)
