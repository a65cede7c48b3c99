"""Members dealt to lanes: parts of an ensemble that cores compute beside each other, each with its own weights near it.

An operation of a small ensemble ends before a second thread has woken up; half of the members take long enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

import numpy as np

from models.errors import EngineError
from models.fused_weights import Encoder, Stack
from models.modalities import Modality

_USUAL_FRAMES: Final = {"acoustic": 16, "linguistic": 8}
"""Of each kind of modality, in a segment of two or three seconds: there lanes are even."""
_COMPARISON: Final = 6
"""Multiplying frames with frames takes so many times as long as multiplying them with weights: small products, none of
them prepared, and a softmax between. Measured on a CPU."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Stacks that one core computes."""

    stacks: tuple[Stack, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Where its answers belong among the ensemble's members, ascending."""
        return tuple(sorted(place for stack in self.stacks for place in stack.places))

    @property
    def modalities(self) -> frozenset[str]:
        """What its members read."""
        return frozenset(reader.modality for stack in self.stacks for reader in stack.readers)


def deal(
    stacks: Sequence[Stack], modalities: Iterable[Modality], inside: Mapping[str, int], lanes: int
) -> tuple[Lane, ...]:
    """Deals stacks to lanes so that these take about the same time; the dearest first, each to the cheapest lane.

    Args:
        stacks: of the whole ensemble.
        modalities: what they read.
        inside: encoders inside the graph, by modality, each with the number of its weights. What reads one of them
            stays together, so that it is computed once.
        lanes: so many at most; fewer where there is less to deal.

    Raises:
        EngineError: no lane at all.
    """
    if lanes < 1:
        raise EngineError(f"an ensemble is computed in 1 lane or more, not in {lanes}")
    frames = {modality.name: _USUAL_FRAMES[modality.kind] for modality in modalities}
    together = _inseparable(stacks, inside)
    costs = [_cost([stacks[i] for i in positions], frames, inside) for positions in together]
    dealt: list[list[int]] = [[] for _ in range(min(lanes, len(together)))]
    loads = [0] * len(dealt)
    for unit in sorted(range(len(together)), key=lambda unit: (-costs[unit], unit)):
        lane = loads.index(min(loads))
        dealt[lane] += together[unit]
        loads[lane] += costs[unit]
    return tuple(Lane(tuple(stacks[i] for i in sorted(positions))) for positions in dealt)


def _inseparable(stacks: Sequence[Stack], inside: Mapping[str, int]) -> list[list[int]]:
    """Positions of stacks, those together that read the same encoder."""
    units: list[tuple[set[str], list[int]]] = []
    for position, stack in enumerate(stacks):
        reads = {reader.modality for reader in stack.readers} & inside.keys()
        positions = [position]
        for unit in [unit for unit in units if unit[0] & reads]:
            units.remove(unit)
            reads |= unit[0]
            positions = unit[1] + positions
        units.append((reads, sorted(positions)))
    return [positions for _, positions in units]


def _cost(stacks: Sequence[Stack], frames: Mapping[str, int], inside: Mapping[str, int]) -> int:
    """Multiplications, and what takes as long."""
    cost = 0
    for stack in stacks:
        cost += sum(_encoder_cost(reader.encoder, frames[reader.modality]) for reader in stack.readers)
        for fusion in stack.fusions:
            all_frames = sum(frames[name] for name in fusion.modalities)
            cost += _encoder_cost(fusion.first, all_frames)
            # It reads the modalities' encoders and, beside them, the first.
            cost += _encoder_cost(fusion.second, 2 * all_frames)
    read = {reader.modality for stack in stacks for reader in stack.readers}
    return cost + sum(weights * frames[name] for name, weights in inside.items() if name in read)


def _encoder_cost(encoder: Encoder | None, frames: int) -> int:
    """Each frame is multiplied with all weights and compared with all frames."""
    if encoder is None:
        return 0
    attentions = [layer.attention for layer in (*encoder.first, *encoder.second)]
    compared = sum(a.heads * int(a.query.shape[-1] + a.value.shape[-1]) for a in attentions) * encoder.members
    return frames * (_weights(encoder) + _COMPARISON * frames * compared)


def _weights(part: object) -> int:
    if isinstance(part, np.ndarray):
        return int(part.size)
    if isinstance(part, tuple):
        return sum(_weights(one) for one in part)
    if is_dataclass(part):
        return sum(_weights(getattr(part, field.name)) for field in fields(part))
    return 0
