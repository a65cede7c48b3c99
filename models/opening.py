"""The engine that answers: the one asked for, or the best that works here."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from models.admission import admit
from models.compile import check_engine, compile_engine, runnable
from models.errors import EngineError
from models.order import ONNX, PRECISIONS, TENSORRT, Order

if TYPE_CHECKING:
    from models.backbones.speech_source import SpeechSource
    from models.backbones.text_source import TextSource
    from models.bundle import Bundle
    from models.engines.base import Engine

_LOG: Final = logging.getLogger(__name__)

AUTO: Final = "auto"
CUDA: Final = "cuda"
TORCH: Final = "torch"
ENGINES: Final = (AUTO, *TENSORRT, CUDA, ONNX, TORCH)
BEST_FIRST: Final = (TENSORRT[0], CUDA, ONNX, TORCH)
"""What `auto` tries, in this order."""
ENGINE_PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {**PRECISIONS, CUDA: ("fp32", "fp16", "bf16"), TORCH: ("fp32",)}
)

_DRIVER_FILES: Final = ("/dev/nvidiactl", "/dev/dxg")


def open_engine(
    bundle: Bundle,
    kind: str = AUTO,
    precision: str = "fp32",
    *,
    threads: int = 0,
    text: Mapping[str, TextSource] = MappingProxyType({}),
    speech: Mapping[str, SpeechSource] = MappingProxyType({}),
) -> Engine:
    """Opens the engine asked for, compiling it first where the cache has none.

    Args:
        bundle: what to run.
        kind: one of `ENGINES`; `auto` takes the first of `BEST_FIRST` that works here and agrees with PyTorch.
        precision: one that the engine has, see `ENGINE_PRECISIONS`.
        threads: CPU threads a call of ONNX Runtime may use; 0 lets it choose. PyTorch has one setting for the process.
        text: by modality, text encoders to put inside where the engine can take them; see `Engine.reads_tokens`.
        speech: likewise speech encoders; see `Engine.reads_audio`.

    Raises:
        EngineError: it cannot be built or run here, or does not agree with PyTorch.
        WeightsError: an encoder's weights are damaged.
    """
    if kind not in ENGINES:
        raise EngineError(f"no engine {kind!r}: there are {', '.join(ENGINES)}")
    if kind != AUTO:
        return _opened(bundle, kind, precision, threads, text, speech)
    passed_over: list[str] = []
    for one in BEST_FIRST:
        try:
            engine = _opened(bundle, one, precision, threads, text, speech)
        except EngineError as error:
            passed_over.append(f"{one}: {error}")
            # No GPU is nothing to warn of; an engine for the CPU that fails is.
            if one == ONNX and precision in ENGINE_PRECISIONS[ONNX]:
                _LOG.warning("engine auto: ONNX Runtime is not used (%s); PyTorch is", error)
            continue
        _LOG.info("engine auto: %s%s", one, f" ({'; '.join(passed_over)})" if passed_over else "")
        return engine
    raise EngineError(f"no engine works here in {precision}: {'; '.join(passed_over)}")


def _opened(
    bundle: Bundle,
    kind: str,
    precision: str,
    threads: int,
    text: Mapping[str, TextSource],
    speech: Mapping[str, SpeechSource],
) -> Engine:
    if precision not in ENGINE_PRECISIONS[kind]:
        there = ", ".join(ENGINE_PRECISIONS[kind])
        raise EngineError(f"precision {precision!r} is not available on the engine {kind}: use {there}")
    if kind in (*TENSORRT, CUDA) and not _driver_is_there():
        raise EngineError("there is no NVIDIA driver on this machine")
    if kind == TORCH:
        from models.engines.torch import TorchEngine

        return TorchEngine(bundle)
    if kind == CUDA:
        from models.engines.cuda import CudaEngine

        captured = CudaEngine(bundle.ensemble(), precision)
        admit(captured, bundle, text, precision)
        return captured
    order = Order(bundle, kind, precision, text, speech)
    compiled = compile_engine(order)
    if compiled.fault is not None:
        _LOG.warning("%s; it is built anew at every start until then", compiled.fault)
    elif compiled.report.largest_difference is None:
        # Built ahead of time on a machine that could not run it: this one can.
        compiled = check_engine(order)
    return runnable(order, compiled, threads=threads)


def _driver_is_there() -> bool:
    """Whether a GPU is worth looking for; told without importing what would look."""
    return shutil.which("nvidia-smi") is not None or any(Path(name).exists() for name in _DRIVER_FILES)
