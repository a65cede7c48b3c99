"""The ensemble's graph in half precision as a GPU computes it, on any machine.

ONNX Runtime would not tell: on a CPU it computes in single precision and drops roundings between operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from models.engines.base import EngineOutput
from models.engines.graph_inputs import OUTPUTS, feature_input, length_input
from models.modalities import PaddedBatch


class InHalfPrecision:
    """Runs a graph that reads features: every tensor rounded to its type, sums inside an operation in single precision.

    Slow: for a check of few rows.
    """

    def __init__(self, graph: bytes) -> None:
        """Takes a graph of `models.graphs.ensemble`."""
        # Operations are overridden by the names of these classes.
        self._evaluator = ReferenceEvaluator(
            onnx.load_from_string(graph), new_ops=[MatMul, Softmax, LayerNormalization]
        )

    def run(self, inputs: Mapping[str, PaddedBatch]) -> EngineOutput:
        """Scores a batch of every modality."""
        feed: dict[str, NDArray[Any]] = {feature_input(name): batch.features for name, batch in inputs.items()}
        feed |= {length_input(name): batch.lengths for name, batch in inputs.items()}
        probabilities, attributes = self._evaluator.run(list(OUTPUTS), feed)
        return EngineOutput(np.asarray(probabilities), np.asarray(attributes))


class MatMul(OpRun):
    """A product whose sums are in single precision."""

    op_domain = ""

    def _run(self, a: Any, b: Any) -> tuple[Any, ...]:
        return ((a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype),)


class Softmax(OpRun):
    """Shares whose exponentials are in single precision."""

    op_domain = ""

    def _run(self, x: Any, axis: int = -1) -> tuple[Any, ...]:
        raised = np.exp(x.astype(np.float32) - x.astype(np.float32).max(axis=axis, keepdims=True))
        return ((raised / raised.sum(axis=axis, keepdims=True)).astype(x.dtype),)


class LayerNormalization(OpRun):
    """A norm whose mean and deviation are in single precision."""

    op_domain = ""

    def _run(self, x: Any, weight: Any, bias: Any = None, **attributes: Any) -> tuple[Any, ...]:
        own = x.astype(np.float32)
        centred = own - own.mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + attributes["epsilon"])
        scaled = normal.astype(x.dtype) * weight
        return (scaled if bias is None else scaled + bias,)
