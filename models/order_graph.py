"""The graph of an order: the ensemble with the encoders that stand inside, in the order's arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from models.errors import EngineError
from models.order import INT8, ONNX, Order

if TYPE_CHECKING:
    from models.graphs.graph import Graph
    from models.graphs.precision import Kind
    from models.graphs.products import Products

CPU_LANES: Final = 2
"""Parts of the graph that two cores compute side by side; more were slower on two, and a bundle has few members."""


def write_graph(
    order: Order, ranges: Mapping[str, float] | None = None, *, keep_fp32: Collection[str] | None = None
) -> Graph:
    """The whole ensemble as one ONNX graph, batch and every modality's time dynamic.

    Args:
        order: what to write.
        ranges: of what is multiplied in 8 bits, see `models.ranges`; for `Order.quantised` alone.
        keep_fp32: in place of the order's.

    Raises:
        EngineError: it cannot be written, or lacks the range of a product.
        WeightsError: an encoder's weights are damaged.
    """
    from models.graphs.ensemble import ALL_GROUPS, ENCODER_GROUPS
    from models.graphs.products import RowIntegers
    from models.graphs.quantised import Quantised

    products: dict[str, Products] = {}
    if order.quantised:
        products = dict.fromkeys(ALL_GROUPS, Quantised(order.precision, ranges or {}))
    elif order.precision == INT8:
        if not order.inside and not order.hearing:
            raise EngineError("int8 is for encoders that stand inside, and none can: compile in fp32")
        products = dict.fromkeys(ENCODER_GROUPS, RowIntegers())
    return written(order, _kind(order), products, order.keep_fp32 if keep_fp32 is None else keep_fp32)


def written(order: Order, kind: Kind, products: Mapping[str, Products], keep_fp32: Collection[str] = ()) -> Graph:
    """The same in an arithmetic of any kind, see `models.graphs.ensemble.write_ensemble`.

    Raises:
        EngineError: as `write_graph`.
        WeightsError: likewise.
    """
    from models.graphs.ensemble import write_ensemble

    text = {name: source.graph() for name, source in order.inside.items()}
    speech = {name: source.graph() for name, source in order.hearing.items()}
    # What hears is computed before the lanes: by each of them, were there several.
    lanes = CPU_LANES if order.target == ONNX and not speech else 1
    return write_ensemble(
        order.bundle.ensemble(),
        text=text,
        speech=speech,
        kind=kind,
        products=products,
        keep_fp32=keep_fp32,
        lanes=lanes,
    )


def _kind(order: Order) -> Kind:
    """Of what is neither single whatever the order says nor in 8 bits: 16 bits gain beside them, and move less."""
    import numpy as np

    from models.graphs.precision import BFLOAT16

    if order.target == ONNX or order.precision == "fp32":
        return np.float32
    return BFLOAT16 if order.precision == "bf16" else np.float16
