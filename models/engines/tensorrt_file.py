"""An engine's file: TensorRT's own bytes behind a head of ours.

TensorRT trusts what it is given. The head says which library wrote the bytes for which cards, and a digest covers all
of it, so that whatever is not what was written is refused before TensorRT sees it. On a machine without a GPU, where
TensorRT opens no engine, the head is also all that can be known of one.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.engines.tensorrt_shapes import ShapeBucket
from models.errors import EngineError

_MAGIC: Final = b"MEDUSA-TENSORRT\x01"
_DIGEST_BYTES: Final = 32
_LENGTH: Final = struct.Struct("<I")
_HEAD_BYTES: Final = len(_MAGIC) + _DIGEST_BYTES + _LENGTH.size


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorEntry(_Entry):
    """An input or output."""

    name: str
    dtype: str
    """As NumPy calls it."""
    shape: tuple[int, ...]
    """-1 where only a call tells."""


class EngineRecord(_Entry):
    """What is known of an engine since it was built."""

    library: str
    """`tensorrt_rtx` or `tensorrt`."""
    library_version: str
    capabilities: tuple[str, ...]
    """Compute capabilities it was built for, such as `8.9`."""
    precision: str
    """The narrowest that layers compute in: `fp8`, `int8`, `fp16`, `bf16` or `fp32`."""
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    hears: tuple[str, ...] = ()
    """Modalities whose speech encoder is inside and hears the waveform."""
    profiles: tuple[ShapeBucket, ...]
    layers: dict[str, dict[str, int]]
    """How many layers of the network there are, by operation and by type of what they give."""
    graph_sha256: str
    """Of the ONNX graph it was built from, or whose weights it was last given."""
    structure_sha256: str | None
    """Of that graph without its weights; None where the engine takes no other weights."""
    calibration_sha256: str | None = None
    """Of what the ranges of 8 bits were measured on; None where there are none."""
    engine_bytes: int = Field(ge=0)
    build_s: float = Field(ge=0)


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine's file, taken apart."""

    record: EngineRecord
    engine: memoryview
    """What TensorRT wrote."""


def pack_engine(record: EngineRecord, engine: bytes | memoryview) -> bytes:
    """The file of an engine."""
    head = record.model_dump_json().encode()
    rest = (_LENGTH.pack(len(head)), head, engine)
    digest = hashlib.sha256()
    for part in rest:
        digest.update(part)
    # In one step: an engine may be of gigabytes.
    return b"".join((_MAGIC, digest.digest(), *rest))


def read_engine(content: bytes, *, graph_sha256: str | None = None) -> EngineFile:
    """Takes a file apart; what TensorRT wrote is not opened.

    Args:
        content: of the file.
        graph_sha256: of the graph that the engine should have been built from; any by default.

    Raises:
        EngineError: it is no engine of ours, cut off, damaged, or was built from another graph.
    """
    if not content.startswith(_MAGIC):
        raise EngineError("this is no TensorRT engine of ours, or one of another format: build it again")
    if len(content) < _HEAD_BYTES:
        raise EngineError(f"the TensorRT engine is cut off after {len(content)} bytes: build it again")
    view = memoryview(content)
    rest = view[len(_MAGIC) + _DIGEST_BYTES :]
    if hashlib.sha256(rest).digest() != view[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]:
        raise EngineError("the TensorRT engine is damaged or cut off, its digest does not fit: build it again")
    start = _LENGTH.size
    stop = start + _LENGTH.unpack(rest[:start])[0]
    try:
        record = EngineRecord.model_validate_json(bytes(rest[start:stop]))
    except (ValidationError, EngineError) as error:
        raise EngineError(f"the TensorRT engine is described otherwise than now ({error}): build it again") from error
    engine = rest[stop:]
    if len(engine) != record.engine_bytes:
        raise EngineError(f"the TensorRT engine has {len(engine)} bytes, not {record.engine_bytes}: build it again")
    if graph_sha256 is not None and record.graph_sha256 != graph_sha256:
        raise EngineError("the TensorRT engine was built from another graph: build it again")
    return EngineFile(record, engine)


def check_library(record: EngineRecord, name: str, version: str) -> None:
    """Refuses what another library wrote, or another version: TensorRT promises nothing across them.

    Raises:
        EngineError: it is not this one.
    """
    if (record.library, record.library_version) != (name, version):
        raise EngineError(
            f"the TensorRT engine was built by {record.library} {record.library_version}, here is {name} {version}: "
            "build it again"
        )
