"""How fast this hardware reads memory and multiplies matrices, measured: what no engine can beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnxruntime
import torch

from benchmarks.fusion_work import Work
from benchmarks.place import Place
from models.graphs.graph import Graph

Precision = Literal["fp32", "fp16", "bf16"]
Bound = Literal["bandwidth", "operations"]

DTYPES: Final[dict[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
TRIES: Final = 7
"""Of which the best counts: nothing is faster than the hardware, but other processes make it look slower."""

_READ_BYTES: Final = {"cpu": 512 * 2**20, "cuda": 2 * 2**30}
"""More than any cache holds."""
_MATRIX: Final = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates of a device, in one precision."""

    bandwidth_gb_s: float
    """Of reading an array that no cache holds."""
    peak_gflop_s: float
    """Of a product of two large square matrices."""

    def best(self, other: Limits) -> Limits:
        """The higher of each of two measurements."""
        return Limits(
            max(self.bandwidth_gb_s, other.bandwidth_gb_s),
            max(self.peak_gflop_s, other.peak_gflop_s),
        )

    def bandwidth_ms(self, work: Work, precision: Precision) -> float:
        """The time it takes to read all weights once."""
        return work.least_weights * DTYPES[precision].itemsize / self.bandwidth_gb_s / 1e6

    def operations_ms(self, work: Work) -> float:
        """The time that the matrix products take at the peak."""
        return work.least_operations / self.peak_gflop_s / 1e6

    def limit_ms(self, work: Work, precision: Precision) -> tuple[float, Bound]:
        """No call is faster than this, and what binds."""
        reading, multiplying = self.bandwidth_ms(work, precision), self.operations_ms(work)
        return (reading, "bandwidth") if reading >= multiplying else (multiplying, "operations")


def measure_limits(
    place: Place, precision: Precision = "fp32", *, read_bytes: int | None = None, matrix: int | None = None
) -> Limits:
    """Measures both rates, with as many threads as the place allows.

    Args:
        place: where.
        precision: of the matrices.
        read_bytes: size of the array that is read; by default larger than caches are.
        matrix: rows and columns of the matrices that are multiplied.
    """
    kind = "cuda" if place.on_gpu else "cpu"
    read_bytes, matrix = read_bytes or _READ_BYTES[kind], matrix or _MATRIX[kind]
    with place.threads_set(), torch.inference_mode():
        reading_s = _reading_s(place, read_bytes)
        multiplying_s = _torch_product_s(place, precision, matrix)
    if not place.on_gpu and precision == "fp32":
        # Which of the two libraries is the faster depends on whose processor it is.
        multiplying_s = min(multiplying_s, _onnx_product_s(place, matrix))
    return Limits(read_bytes / reading_s / 1e9, 2 * matrix**3 / multiplying_s / 1e9)


def _reading_s(place: Place, read_bytes: int) -> float:
    array = torch.ones(read_bytes // torch.float32.itemsize, device=place.device)
    return _best_s(place, array.sum)


def _torch_product_s(place: Place, precision: Precision, matrix: int) -> float:
    left, right = (torch.randn(matrix, matrix, device=place.device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(left)
    return _best_s(place, lambda: torch.mm(left, right, out=out))


def _onnx_product_s(place: Place, matrix: int) -> float:
    graph = Graph("product")
    left, right = (graph.input(name, np.float32, (matrix, matrix)) for name in ("left", "right"))
    graph.output("product", graph.op("MatMul", left, right), np.float32, (matrix, matrix))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = place.threads
    session = onnxruntime.InferenceSession(graph.serialise(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {name: rng.standard_normal((matrix, matrix), dtype=np.float32) for name in ("left", "right")}
    return _best_s(place, lambda: session.run(None, feed))


def _best_s(place: Place, run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(TRIES):
        place.synchronise()
        started = time.perf_counter()
        run()
        place.synchronise()
        taken.append(time.perf_counter() - started)
    return min(taken)
