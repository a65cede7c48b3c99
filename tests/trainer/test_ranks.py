"""Ranks: a share of the work for each, and one that leads."""

from __future__ import annotations

import pytest

from trainer.errors import RecipeError
from trainer.ranks import Ranks, join_ranks


def test_a_process_of_its_own_does_everything() -> None:
    with join_ranks({}) as ranks:
        assert ranks.leads
        assert ranks.share(["a", "b", "c"]) == ["a", "b", "c"]
        ranks.barrier()


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_together_they_do_everything_once(world: int) -> None:
    items = [f"member-{i}" for i in range(14)]
    shares = [Ranks(rank, world).share(items) for rank in range(world)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [Ranks(rank, world).leads for rank in range(world)] == [True] + [False] * (world - 1)


def test_an_environment_that_names_no_ranks_is_refused() -> None:
    with pytest.raises(RecipeError, match="must be whole numbers"), join_ranks({"RANK": "first", "WORLD_SIZE": "2"}):
        pytest.fail("it joined")


def test_a_rank_that_meets_nobody_says_how_to_start_them() -> None:
    with (
        pytest.raises(RecipeError, match=r"rank 2 of 2 cannot meet the others: .*; start them with torchrun"),
        join_ranks({"RANK": "2", "WORLD_SIZE": "2"}),
    ):
        pytest.fail("it joined")
