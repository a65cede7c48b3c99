"""Where training computes, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal

import torch

from trainer.errors import RecipeError

Precision = Literal["fp32", "bf16"]
AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Compute:
    """A device, and the precision of the forward pass; weights, optimiser and loss are always fp32."""

    device: str = "cpu"
    """As PyTorch names it: `cpu`, `cuda`, `cuda:1`."""
    precision: Precision = "fp32"
    """`bf16`: matrix products in bfloat16, which needs no loss scaling (mixed precision, Micikevicius et al. 2018)."""

    def autocast(self) -> AbstractContextManager[None]:
        """The block in which the precision holds."""
        return torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16, enabled=self.precision == "bf16")


CPU: Final = Compute()


def choose_compute(device: str = AUTO, precision: Precision = "fp32", *, worker: int = 0) -> Compute:
    """What a process trains on.

    Args:
        device: `auto` takes a GPU where PyTorch sees one; several processes are dealt to all of them in turn.
        precision: of the forward pass.
        worker: number of this process on this machine, from 0.

    Raises:
        RecipeError: there is no such device here.
    """
    if device == AUTO:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return Compute(f"cuda:{worker % count}" if count else "cpu", precision)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(f"cannot train on device {device!r} here: {reason}") from error
    return Compute(device, precision)
