"""Precisions of a graph: types stand in it, and an engine that is strongly typed follows them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.errors import EngineError
from models.graphs.graph import Graph, Value

Kind = type[np.generic]
"""Single or half precision, or bfloat16."""

BFLOAT16: Final[Kind] = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16).type
"""The range of single precision in half of its bits."""
BFLOAT16_OPSET: Final = 22
"""The first in which convolutions are of it."""

MASKED_HALF: Final = -3e4
"""Keeps padding out of scores in 16 bits: the largest half is 65504, and a score comes on top."""
SPEECH_GROUPS: Final = ("speech_fronts", "speech_layers")
"""Of speech encoders inside, what can stay in single precision by itself: convolutions, and the layers behind them."""
TEXT_GROUP: Final = "text_layers"
"""Text encoders inside: in single precision anyway, but for their products where these are quantised."""

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


def between(graph: Graph, value: Value, own: Kind, wanted: Kind) -> Value:
    """What a layer group of one precision hands to one of another; the value itself where they are the same."""
    return value if own is wanted else graph.cast(value, wanted)


def in_kind(array: NDArray[np.floating[Any]], kind: Kind) -> NDArray[Any]:
    """Weights in a precision.

    Raises:
        EngineError: one of them is too large for half precision.
    """
    if kind is np.float16 and array.size and (largest := float(np.abs(array).max())) > _LARGEST_HALF:
        raise EngineError(f"a weight of {largest:.3g} does not fit into half precision: keep its layer group in fp32")
    return array.astype(kind, copy=False)


def number(graph: Graph, of: float, kind: Kind) -> Value:
    """One number."""
    return graph.constant(np.array(of, dtype=kind))
