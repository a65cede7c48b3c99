"""Who is compared in `medusa bench fusion`: ways to run one ensemble, the reference first.

Another one joins by an entry in `CONTENDERS`: how it is opened, what keeps it from running in a place, and what memory
it takes. All of them are measured from padded features in the machine's memory to scores in the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from benchmarks.hardware_limits import Precision
from benchmarks.place import Place
from models.engines.base import NO_MEL, Engine, EngineOutput
from models.engines.onnx import OnnxEngine
from models.ensemble import Ensemble
from models.errors import EngineError
from models.fused import FusedEnsemble
from models.graphs.ensemble import ensemble_graph
from models.inputs import complete_features
from models.modalities import EngineInputs, Modality
from models.order_graph import CPU_LANES

ONE_BY_ONE: Final = "one_by_one"
"""The reference: what all others are compared with, in their answers and in their time."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run an ensemble."""

    name: str
    title: str
    """For people."""
    open: Callable[[Ensemble, Place], Engine]
    """Builds it; may raise an error of `models`."""
    available: Callable[[Place], str | None]
    """Why it cannot run there; None where it can."""
    precision: Precision = "fp32"
    side_by_side: bool = True
    """Whether it holds what all members compute at once; else that of one at a time."""
    keeps_scores: bool = False
    """Whether it holds attention scores as whole matrices."""
    weight_copies: int = 1
    """So many times all weights are in memory at most while it is opened, beside the ensemble it is made from."""

    @property
    def key(self) -> str:
        """Tells it from the same engine in another precision."""
        return engine_key(self.name, self.precision)


def engine_key(name: str, precision: str) -> str:
    """An engine's name, with its precision where that is reduced."""
    return name if precision == "fp32" else f"{name} {precision}"


class ModuleEngine:
    """An ensemble that PyTorch runs on a device; copies to it and back are part of a call."""

    name = "torch"
    reads_tokens: Final[frozenset[str]] = frozenset()
    reads_audio: Final[frozenset[str]] = frozenset()
    reads_mel: Final = NO_MEL

    def __init__(self, module: nn.Module, modalities: tuple[Modality, ...], place: Place) -> None:
        """Moves the module to the device.

        Args:
            module: called as `Ensemble.forward`.
            modalities: its inputs.
            place: where to run it.
        """
        self.modalities = modalities
        self._module = module.to(place.device)
        self._device = place.device

    def run(self, inputs: EngineInputs) -> EngineOutput:
        """Scores a batch; see `Engine.run`."""
        full = complete_features(inputs, self.modalities)
        features = {name: torch.from_numpy(batch.features).to(self._device) for name, batch in full.items()}
        lengths = {name: torch.from_numpy(batch.lengths).to(self._device) for name, batch in full.items()}
        with torch.inference_mode():
            output = self._module(features, lengths)
        return EngineOutput(output.probabilities.numpy(force=True), output.attributes.numpy(force=True))


def _one_by_one(ensemble: Ensemble, place: Place) -> Engine:
    # A module moves in place, and the answers of all others are checked against the ensemble where it is.
    return ModuleEngine(copy.deepcopy(ensemble) if place.on_gpu else ensemble, ensemble.modalities, place)


def _fused(ensemble: Ensemble, place: Place) -> Engine:
    return ModuleEngine(FusedEnsemble(ensemble), ensemble.modalities, place)


def _onnx(ensemble: Ensemble, place: Place) -> Engine:
    return OnnxEngine(ensemble_graph(ensemble, lanes=CPU_LANES), ensemble.modalities, threads=place.threads)


def _captured(precision: Precision) -> Callable[[Ensemble, Place], Engine]:
    def opened(ensemble: Ensemble, place: Place) -> Engine:
        from models.engines.cuda import CudaEngine
        from models.engines.launchers import GraphLauncher

        return CudaEngine(ensemble, precision, launcher=GraphLauncher(torch.device(place.device).index))

    return opened


def _tensorrt(precision: Precision) -> Callable[[Ensemble, Place], Engine]:
    def opened(ensemble: Ensemble, place: Place) -> Engine:
        del place
        from models.engines.tensorrt import build_engine
        from models.engines.tensorrt_runtime import TensorRTEngine
        from models.engines.tensorrt_shapes import default_buckets

        graph = ensemble_graph(ensemble, kind=np.float16 if precision == "fp16" else np.float32)
        return TensorRTEngine(build_engine(graph, default_buckets(ensemble.modalities)).content, ensemble.modalities)

    return opened


def _where_tensorrt_is(place: Place) -> str | None:
    if not place.on_gpu:
        return _on_gpu(place)
    from models.engines.tensorrt_library import tensorrt_library

    try:
        tensorrt_library()
    except EngineError as error:
        return str(error)
    return None


def _anywhere(_place: Place) -> str | None:
    return None


def _on_gpu(place: Place) -> str | None:
    return None if place.on_gpu else f"runs on a GPU, what is measured here is {place.device}"


def _on_cpu(place: Place) -> str | None:
    return f"runs on the CPU, what is measured here is {place.device}" if place.on_gpu else None


CONTENDERS: Final = (
    Contender(ONE_BY_ONE, "one by one, PyTorch", _one_by_one, _anywhere, side_by_side=False),
    Contender("torch", "fused, PyTorch", _fused, _anywhere, weight_copies=3),
    # The graph as nodes and as bytes, the session's own weights, and those it packs for its products.
    Contender("onnx", "fused, ONNX Runtime", _onnx, _on_cpu, keeps_scores=True, weight_copies=6),
    Contender("cuda_graph", "captured CUDA graph", _captured("fp32"), _on_gpu, weight_copies=3),
    Contender("cuda_graph", "captured CUDA graph, fp16", _captured("fp16"), _on_gpu, "fp16", weight_copies=3),
    Contender("cuda_graph", "captured CUDA graph, bf16", _captured("bf16"), _on_gpu, "bf16", weight_copies=3),
    Contender("tensorrt", "TensorRT", _tensorrt("fp32"), _where_tensorrt_is, weight_copies=6),
    Contender("tensorrt", "TensorRT, fp16", _tensorrt("fp16"), _where_tensorrt_is, "fp16", weight_copies=6),
)
