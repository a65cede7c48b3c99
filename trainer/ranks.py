"""Several processes of one run, as `torchrun` starts them: who does what, and when all wait for each other.

Members share nothing while they train, so a run is dealt out by member: every rank trains some of them exactly as one
process would, and the ensemble is the same however many ranks there were.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from trainer.errors import RecipeError

_PATIENCE: Final = timedelta(days=30)
"""How long a rank waits for the others at a barrier: as long as the slowest member trains."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Its number on its own machine."""
    barrier: Callable[[], None] = lambda: None
    """Returns when every rank has called it."""

    @property
    def leads(self) -> bool:
        """Whether it does what is done once: the meta-classifier, the bundle, what is printed."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This rank's part of some work, dealt out in turn."""
        return list(items[self.rank :: self.world])


@contextmanager
def join_ranks(environment: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """Meets the other ranks where `torchrun` started several; a process of its own where it did not.

    Args:
        environment: holds `RANK`, `WORLD_SIZE` and `LOCAL_RANK`, as torchrun sets them.

    Raises:
        RecipeError: they are no numbers, or the ranks cannot meet.
    """
    try:
        rank, world, local_rank = (
            int(environment.get(key, default)) for key, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
    except ValueError as error:
        raise RecipeError(f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers ({error})") from None
    if world == 1:
        yield Ranks()
        return
    import torch.distributed

    try:
        # Gloo works on any machine, and nothing but the meeting itself goes through it.
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RecipeError(
            f"rank {rank} of {world} cannot meet the others: {error}; start them with torchrun"
        ) from error
    try:
        yield Ranks(rank, world, local_rank, torch.distributed.barrier)
    finally:
        torch.distributed.destroy_process_group()
