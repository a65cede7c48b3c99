"""The engine for NVIDIA GPUs: TensorRT, each call padded to the next shape that the engine is made for."""

from __future__ import annotations

from collections.abc import Mapping
from queue import LifoQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.engines.base import EngineOutput
from models.engines.cuda_calls import Cuda
from models.engines.graph_inputs import OUTPUTS, Reading
from models.engines.tensorrt import open_engine_file
from models.engines.tensorrt_file import EngineRecord, read_engine
from models.engines.tensorrt_lanes import Contexts, Lane
from models.engines.tensorrt_library import Library, tensorrt_library
from models.engines.tensorrt_memory import Memory
from models.engines.tensorrt_shapes import Shape, fitting, sized_by
from models.errors import EngineError, FeatureError
from models.modalities import EngineInputs, Modality

LANES: Final = 2
"""Calls that are under way at a time: one computes, one copies."""


class TensorRTEngine:
    """Runs an engine's file; thread-safe."""

    name = "tensorrt"

    def __init__(
        self,
        content: bytes,
        modalities: tuple[Modality, ...],
        *,
        kernels: Memory | None = None,
        lanes: int = LANES,
        cuda: Cuda | None = None,
        library: Library | None = None,
    ) -> None:
        """Opens an engine on the GPU.

        Args:
            content: of the engine's file, as `models.engines.tensorrt.build_engine` gives it.
            modalities: the bundle's inputs.
            kernels: where those are kept that TensorRT for RTX compiles for this GPU; they are taken up from there, and
                kept whenever a shape was met for the first time.
            lanes: calls that may be under way at a time.
            cuda: the GPU; the first by default.
            library: TensorRT; the one that built the engine by default.

        Raises:
            EngineError: no GPU, the file is not one that `read_engine` and this library take, or its inputs are not
                those of the bundle.
        """
        file = read_engine(content)
        self.modalities = modalities
        self.record: EngineRecord = file.record
        shapes = {entry.name: entry.shape for entry in file.record.inputs}
        self._reading = Reading.of(modalities, shapes, file.record.hears)
        self.reads_tokens = self._reading.tokens
        self.reads_audio = self._reading.audio
        self.reads_mel = self._reading.mel
        self._library = library or tensorrt_library(file.record.library)
        self._cuda = cuda or Cuda()
        self._engine = open_engine_file(self._library, file)
        self._kernels = kernels
        self._contexts = Contexts(self._library, self._engine, None if kernels is None else kernels.recall())
        self._met: set[tuple[int, Shape]] = set()
        self._lanes: LifoQueue[Lane] = LifoQueue()
        # The last one put back is taken first, so that a second lane costs nothing where calls never meet.
        self._all = [Lane(self._cuda, self._contexts, self.record) for _ in range(lanes)]
        for lane in self._all:
            self._lanes.put(lane)

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`.

        Raises:
            EngineError: the GPU fails, or answers with what is no number.
        """
        feed, size = self._reading.feed(inputs)
        most = self._most_rows(feed)
        said = [self._answers(_rows(feed, start, start + most)) for start in range(0, size, most)]
        probabilities, attributes = (np.concatenate([one[name] for one in said]) for name in OUTPUTS)
        if not (np.isfinite(probabilities).all() and np.isfinite(attributes).all()):
            raise EngineError("the GPU's answer is not finite: compile the bundle in fp32, or keep layer groups in it")
        return EngineOutput(probabilities, attributes)

    def layer_times_ms(self, inputs: EngineInputs) -> dict[str, float]:
        """Milliseconds that each layer takes for a batch, one after the other and by TensorRT's names.

        Layers are timed with nothing recorded: together they take longer than a call of `run`.
        """
        feed, _ = self._reading.feed(inputs)
        place = self._place(feed)
        self._cuda.use()
        lane = Lane(self._cuda, Contexts(self._library, self._engine, recorded=False), self.record)
        try:
            return lane.layer_times_ms(*place, feed)
        finally:
            lane.close()

    def runtime_cache(self) -> bytes | None:
        """Kernels that TensorRT for RTX compiled for this GPU so far, to be kept; None of the other library."""
        return self._contexts.compiled_kernels()

    def close(self) -> None:
        """Gives the GPU's memory back, once no call is under way."""
        for lane in [self._lanes.get() for _ in self._all]:
            lane.close()

    def _answers(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Of as many rows as the engine takes at a time."""
        place = self._place(feed)
        lane = self._lanes.get()
        try:
            self._cuda.use()
            answers = lane.run(*place, feed)
        finally:
            self._lanes.put(lane)
        if place not in self._met:
            self._met.add(place)
            if self._kernels is not None:
                self._kernels.keep(self.runtime_cache())
        size = len(next(iter(feed.values())))
        return {name: array[:size] for name, array in answers.items()}

    def _most_rows(self, feed: Mapping[str, NDArray[Any]]) -> int:
        """That sequences of these lengths may have at a time."""
        times = self._times(feed)
        fit = [p.batch.steps[-1] for p in self.record.profiles if p.fit(p.batch.steps[-1], times) is not None]
        if not fit:
            most = {name: sizes.steps[-1] for name, sizes in self.record.profiles[-1].times.items()}
            raise FeatureError(f"inputs of {times} do not fit into the engine, which takes {most} at most")
        return max(fit)

    def _place(self, feed: Mapping[str, NDArray[Any]]) -> tuple[int, Shape]:
        """The profile to take, and the shape to pad to."""
        times = self._times(feed)
        place = fitting(self.record.profiles, len(next(iter(feed.values()))), times)
        if place is None:
            raise FeatureError(f"inputs of {times} do not fit into the engine: give it fewer rows at a time")
        return place

    def _times(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Sizes of the time axes, see `models.engines.tensorrt_shapes.sized_by`."""
        return {
            sized_by(entry.name): size
            for entry in self.record.inputs
            for size, dim in zip(feed[entry.name].shape[1:], entry.shape[1:], strict=True)
            if dim < 0
        }


def _rows(feed: Mapping[str, NDArray[Any]], start: int, stop: int) -> dict[str, NDArray[Any]]:
    return {name: array[start:stop] for name, array in feed.items()}
