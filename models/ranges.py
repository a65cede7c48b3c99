"""Ranges of what products multiply, measured where the graph runs in single precision on what members read in earnest.

Of integers the range ends where one number in ten thousand is larger: their steps are all of one size, and a single
outlier would make them coarse (Wu et al. 2020, section 5). On clips of `base` that were not measured on, its text
encoder then moved scores a third as far. Floating point has fine steps near zero however far it reaches, so that its
range holds everything: with less, what members say moved further.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import AudioBatch
from models.calibration_audio import beside_clips, measured_part, single_clips
from models.check_clips import CheckClips
from models.engines.graph_inputs import Reading, told_hearing
from models.engines.onnx import open_session
from models.errors import EngineError
from models.magnitudes import Magnitudes
from models.modalities import EngineInputs
from models.order import FP8, INT8, Order
from models.order_graph import written

if TYPE_CHECKING:
    from models.graphs.graph import Graph

_SHARES: Final[Mapping[str, float]] = MappingProxyType({INT8: 0.9999, FP8: 1.0})
"""Of what is multiplied, by precision, so much lies within the range."""
_OUTPUT: Final = "multiplied_"
"""In front of the outputs that products' factors are read from."""


def calibration_sha256(order: Order) -> str | None:
    """Of what the order's ranges are measured on; None where audio is lacking, see `Order.audio`.

    Raises:
        EngineError: the bundle lacks what they are measured on.
    """
    clips = _clips(order)
    own = hashlib.sha256()
    if clips is not None:
        manifest = order.bundle.manifest
        own.update(manifest.files[str(manifest.check_file)].sha256.encode())
    if order.hearing:
        if order.audio is None:
            return None
        own.update(order.audio.sha256.encode())
    return own.hexdigest()


def measured_ranges(order: Order, serialise: Callable[[Graph], tuple[bytes, Path | None]]) -> dict[str, float]:
    """Runs the graph in single precision on three of four of the bundle's clips, or of the pieces of audio given.

    Args:
        order: whose products are to be in 8 bits.
        serialise: makes of a graph what can be opened, and the file of its weights where they are none of it.

    Returns:
        By `models.graphs.quantised.weight_key`, the largest magnitude of what is multiplied, but for outliers.

    Raises:
        EngineError: there is nothing to measure on, or the graph does not run.
        WeightsError: an encoder's weights are damaged.
    """
    from models.graphs.ensemble import ALL_GROUPS
    from models.graphs.quantised import Watched

    rows = list(_rows(order))
    watched = Watched()
    graph = written(order, np.float32, dict.fromkeys(ALL_GROUPS, watched), order.keep_fp32)
    values = list(dict.fromkeys(value for sites in watched.sites.values() for value in sites))
    if not values:
        raise EngineError(f"nothing is left to compute in {order.precision}: compile in fp16, or keep fewer groups")
    outputs = [f"{_OUTPUT}{number}" for number in range(len(values))]
    for name, value in zip(outputs, values, strict=True):
        width = watched.widths[value]
        graph.output(name, graph.reshape(value, (-1, width)), np.float32, (f"{name}_rows", width))
    sources = [graph.sources(value) for value in values]
    content, weights = serialise(graph)
    del graph
    session = open_session(content, weights=weights)
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    reading = Reading.of(order.bundle.modalities, shapes, told_hearing(session.get_modelmeta().custom_metadata_map))
    magnitudes = [Magnitudes() for _ in values]
    for row in rows:
        feed, _ = reading.feed(row)
        there = _there(reading, feed)
        heard = [own.isdisjoint(there) or any(there[name] for name in own & there.keys()) for own in sources]
        names = [name for name, own in zip(outputs, heard, strict=True) if own]
        found = dict(zip(names, session.run(names, feed), strict=True))
        for name, own in zip(outputs, magnitudes, strict=True):
            if name in found:
                own.add(found[name])
    if not all(own.finite for own in magnitudes):
        raise EngineError("on the calibration data a product multiplies what is no number: look into that data")
    reaches = {value: own.below(_SHARES[order.precision]) for value, own in zip(values, magnitudes, strict=True)}
    return {key: max(reaches[value] for value in sites) for key, sites in watched.sites.items()}


def _there(reading: Reading, feed: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
    """By input, whether there is something in it: what encoders make of nothing reaches nobody."""
    return {
        sequence: bool(feed[lengths].all())
        for sequence, lengths in (reading.names(modality.name) for modality in reading.modalities)
    }


def _rows(order: Order) -> Iterator[EngineInputs]:
    """What is measured on, as the graph reads it."""
    clips, modalities = _clips(order), order.bundle.modalities
    if order.hearing:
        if order.audio is None:
            raise EngineError(
                f"{', '.join(sorted(order.hearing))} hear audio, and the bundle's clips hold none to measure the "
                f"ranges of {order.precision} on: give a folder with a few minutes of speech, medusa compile "
                "--calibration DIR"
            )
        ears = {name: source.ear(order.bundle.final_windows) for name, source in order.hearing.items()}
        for row in beside_clips(order.audio.measured, order.hearing, clips, modalities):
            yield {n: ears[n](own) if isinstance(own, AudioBatch) else own for n, own in row.items()}
        return
    outside = {} if clips is None else {n: s for n, s in order.text.items() if n in clips.tokens.keys() - order.inside}
    rows = measured_part(single_clips(clips, modalities))
    if not outside:
        yield from rows
        return
    from models.reference import Reference

    reference = Reference(order.bundle, outside)
    for row in rows:
        yield {**row, **reference.features({name: row[name] for name in outside})}


def _clips(order: Order) -> CheckClips | None:
    """The bundle's clips; None where all that is read is heard.

    Raises:
        EngineError: there are none, or they hold a modality otherwise than it is read.
    """
    read = [modality.name for modality in order.bundle.modalities if modality.name not in order.hearing]
    if not read:
        return None
    clips = order.bundle.check_clips()
    instead = "train it with --check-clips, or compile in fp16"
    if clips is None:
        raise EngineError(
            f"bundle {order.bundle.manifest.name} carries no clips, and the ranges of {order.precision} are measured "
            f"on them where {', '.join(read)} is read: {instead}"
        )
    unread = (clips.features.keys() & order.inside) | (clips.tokens.keys() - order.text.keys())
    if unread:
        raise EngineError(
            f"the bundle's clips hold {', '.join(sorted(unread))} otherwise than the engine reads it, so that the "
            f"ranges of {order.precision} cannot be measured: give the text encoder of a modality that is stored as "
            f"tokens, or {instead}"
        )
    return clips
