"""The engine for CUDA devices without TensorRT: the fused ensemble in PyTorch, one captured graph a bucket."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.emotions import ATTRIBUTE_NAMES
from models.engines.base import NO_MEL, EngineOutput
from models.engines.buckets import Bucket, Buckets, fill
from models.engines.launchers import GraphLauncher, Launcher, Work
from models.ensemble import Ensemble
from models.errors import EngineError
from models.fused import FusedEnsemble
from models.inputs import complete_features
from models.modalities import EngineInputs, Modality, PaddedBatch

PRECISIONS: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MOST_GRAPHS: Final = 64
"""Buckets that are kept prepared; the one that was not used for longest makes room."""

# While the device reads one, a caller fills the other.
_STAGES: Final = 2
_ALIGNMENT_BYTES: Final = 256


class CudaEngine:
    """Runs an ensemble's members side by side on a CUDA device; thread-safe.

    A batch is padded to a bucket, copied to the device in one piece, answered by the bucket's graph, and copied back in
    one piece. A bucket is captured when it is first met; `prepare` does so ahead of time.
    """

    name = "cuda"
    reads_tokens: Final[frozenset[str]] = frozenset()
    reads_audio: Final[frozenset[str]] = frozenset()
    reads_mel: Final = NO_MEL

    def __init__(
        self,
        ensemble: Ensemble,
        precision: str = "fp32",
        *,
        launcher: Launcher | None = None,
        buckets: Buckets | None = None,
        graphs: int = MOST_GRAPHS,
    ) -> None:
        """Brings the ensemble to the device.

        Args:
            ensemble: whose answers to give; it is copied.
            precision: of the members: `fp32`, `fp16` or `bf16`.
            launcher: how work reaches which device; captured graphs on the first CUDA device by default.
            buckets: the shapes that batches are padded to.
            graphs: buckets that are kept prepared, at least 1.

        Raises:
            EngineError: there is no CUDA device, or an argument is out of bounds.
        """
        if precision not in PRECISIONS:
            raise EngineError(f"no precision {precision!r} on this engine: there are {', '.join(PRECISIONS)}")
        if graphs < 1:
            raise EngineError(f"at least 1 graph must be kept, got {graphs}")
        self._launcher = GraphLauncher() if launcher is None else launcher
        self._buckets = buckets or Buckets()
        self._most = graphs
        fused = FusedEnsemble(ensemble, PRECISIONS[precision])
        with _fitting(self._launcher.device):
            self._ensemble = fused.to(self._launcher.device)
        self._prepared: OrderedDict[Bucket, _Prepared] = OrderedDict()
        self._lock = threading.Lock()
        self._stages: SimpleQueue[_Stage] = SimpleQueue()
        for _ in range(_STAGES):
            self._stages.put(_Stage(pinned=self._launcher.pinned))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs it reads."""
        return self._ensemble.modalities

    def prepare(self, rows: int, frames: Mapping[str, int]) -> None:
        """Captures the graph that batches of a size will need, so that none of them waits for it.

        Args:
            rows: of a batch; one larger than the largest bucket is divided, and not prepared for.
            frames: the longest row of each modality; 0 where it is left out.

        Raises:
            EngineError: it does not fit, into a bucket or into the device.
        """
        lengths = [np.full(rows, frames.get(modality.name, 0), dtype=np.int64) for modality in self.modalities]
        shapes = [PaddedBatch(np.empty((rows, max(1, *own), 0), dtype=np.float32), own) for own in lengths]
        with self._lock, torch.inference_mode():
            self._prepare(self._buckets.bucket(shapes))

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        full = complete_features(inputs, self.modalities)
        batches = [full[modality.name] for modality in self.modalities]
        parts = [
            self._answer([PaddedBatch(batch.features[part], batch.lengths[part]) for batch in batches])
            for part in self._buckets.divide(len(batches[0]))
        ]
        together = parts[0] if len(parts) == 1 else np.concatenate(parts)
        labels = len(self._ensemble.labels)
        return EngineOutput(together[:, :labels].copy(), together[:, labels:].copy())

    def _answer(self, batches: Sequence[PaddedBatch]) -> NDArray[np.float32]:
        """`[rows, labels + 3]`."""
        bucket = self._buckets.bucket(batches)
        stage = self._stages.get()
        try:
            with torch.inference_mode():
                with self._lock:
                    prepared = self._prepare(bucket)
                inputs, outputs = stage.room(prepared)
                for place, batch in zip(prepared.places, batches, strict=True):
                    fill(*place.of(stage.memory), batch)
                with self._lock, self._launcher.stream():
                    prepared.inputs.copy_(inputs, non_blocking=True)
                    prepared.replay()
                    outputs.copy_(prepared.outputs, non_blocking=True)
                    wait = self._launcher.mark()
                wait()
                return outputs[: len(batches[0])].numpy().copy()
        finally:
            self._stages.put(stage)

    def _prepare(self, bucket: Bucket) -> _Prepared:
        """The bucket's buffers and graph; the lock is held."""
        if bucket in self._prepared:
            self._prepared.move_to_end(bucket)
            return self._prepared[bucket]
        while len(self._prepared) >= self._most:
            self._prepared.popitem(last=False)
        with _fitting(self._launcher.device):
            self._prepared[bucket] = _Prepared(self._ensemble, bucket, self._launcher)
        return self._prepared[bucket]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a modality lies among the inputs of a bucket, which are one piece of memory."""

    lengths_start: int
    """Bytes before it."""
    features_start: int
    shape: tuple[int, int, int]
    """`[rows, frames, dim]`."""

    @property
    def stop(self) -> int:
        return self.features_start + torch.float32.itemsize * math.prod(self.shape)

    def on(self, device: Tensor) -> tuple[Tensor, Tensor]:
        """Features and lengths."""
        lengths_stop = self.lengths_start + torch.int64.itemsize * self.shape[0]
        lengths = device[self.lengths_start : lengths_stop].view(torch.int64)
        return device[self.features_start : self.stop].view(torch.float32).view(self.shape), lengths

    def of(self, host: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same."""
        features = np.ndarray(self.shape, np.float32, host.data, self.features_start)
        return features, np.ndarray(self.shape[:1], np.int64, host.data, self.lengths_start)


class _Prepared:
    """The buffers of a bucket on the device, and its graph over them."""

    def __init__(self, ensemble: FusedEnsemble, bucket: Bucket, launcher: Launcher) -> None:
        self.places: list[_Place] = []
        size = 0
        for modality, frames in zip(ensemble.modalities, bucket.frames, strict=True):
            behind = _aligned(size + torch.int64.itemsize * bucket.rows)
            self.places.append(_Place(size, behind, (bucket.rows, frames, modality.dim)))
            size = _aligned(self.places[-1].stop)
        with launcher.stream():
            self.inputs = torch.zeros(size, dtype=torch.uint8, device=launcher.device)
            self.outputs = torch.zeros(bucket.rows, len(ensemble.labels) + len(ATTRIBUTE_NAMES), device=launcher.device)
        features: dict[str, Tensor] = {}
        lengths: dict[str, Tensor] = {}
        for modality, place in zip(ensemble.modalities, self.places, strict=True):
            features[modality.name], lengths[modality.name] = place.on(self.inputs)

        def work() -> None:
            answer = ensemble(features, lengths)
            torch.cat([answer.probabilities, answer.attributes], dim=1, out=self.outputs)

        self.replay: Work = launcher.captured(work)


class _Stage:
    """Memory of the host that a caller fills and reads; one caller at a time."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._inputs = torch.zeros(0, dtype=torch.uint8)
        self._outputs = torch.zeros(0)
        self.memory: NDArray[np.uint8] = self._inputs.numpy()

    def room(self, prepared: _Prepared) -> tuple[Tensor, Tensor]:
        """Room for inputs and outputs of a bucket; more is taken where there is too little."""
        size, answers = prepared.inputs.numel(), prepared.outputs.numel()
        if self._inputs.numel() < size:
            self._inputs = torch.zeros(size, dtype=torch.uint8, pin_memory=self._pinned)
            self.memory = self._inputs.numpy()
        if self._outputs.numel() < answers:
            self._outputs = torch.zeros(answers, pin_memory=self._pinned)
        return self._inputs[:size], self._outputs[:answers].view_as(prepared.outputs)


@contextmanager
def _fitting(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"{device} has too little memory for the ensemble: use smaller batches, fewer graphs or a lower "
            f"precision ({error})"
        ) from error


def _aligned(count: int) -> int:
    return -(-count // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
