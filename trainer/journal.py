"""Curves of a training run for TensorBoard: loss and learning rate by step, development macro-F1 by epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

Scalar = Callable[[str, float, int], None]
"""Takes the name of a curve, a value and the step it belongs to."""


@contextmanager
def tensorboard_curves(folder: Path) -> Iterator[Scalar]:
    """Writes event files that `tensorboard --logdir` shows; keeps nothing where TensorBoard is not installed.

    Args:
        folder: of one model's curves, made where it is missing. A run that is taken up again adds a file to it;
            TensorBoard shows the later of two values of one step.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        log.info("no curves are written: TensorBoard is not installed (it comes with the extra train)")
        yield lambda _name, _value, _step: None
        return
    writer = SummaryWriter(str(folder))
    try:
        yield writer.add_scalar
    finally:
        writer.close()
