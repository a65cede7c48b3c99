"""`medusa compile`: a bundle made executable, checked again, or looked into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from models.engine_report import EngineReport
    from models.engines.tensorrt import BuildProgress
    from models.inspection import Inspection

_SLOWEST_SHOWN: Final = 10


def _names(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in value.split(",")) if value else ()
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty name between its commas.")
    return names


@click.command("compile", epilog="Example: medusa compile --target onnx,tensorrt --precision fp32 --capability 8.6,8.9")
@click.option(
    "--bundle", "source", default="base", show_default=True, help="A bundle's folder, or a shipped one's name."
)
@click.option(
    "--target",
    "targets",
    callback=_names,
    default="onnx",
    show_default=True,
    help="onnx, tensorrt (whichever library is installed), tensorrt_rtx; several by comma.",
)
@click.option(
    "--precision",
    "precisions",
    callback=_names,
    default="fp32",
    show_default=True,
    help="fp32; for ONNX Runtime int8 too, of the encoders inside; for TensorRT fp16, bf16, int8 and fp8; several by "
    "comma.",
)
@click.option(
    "--capability",
    "capabilities",
    callback=_names,
    default="",
    help="Compute capabilities to build for ahead of time, such as 8.9; several by comma. TensorRT for RTX builds for "
    "them without a GPU; by default for 8.0, 8.6, 8.9 and 12.0, in fp8 for the last two.",
)
@click.option(
    "--keep-fp32",
    callback=_names,
    default="",
    help="Layer groups that stay in single precision: of members readers, first_fusion, second_fusion, head; of speech "
    "encoders speech_fronts, speech_layers; of text encoders text_layers; several by comma.",
)
@click.option(
    "--calibration",
    "calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder with a few minutes of speech, for engines with speech encoders inside: int8 and fp8 measure on it "
    "what products multiply, and every reduced precision is checked on a part of it.",
)
@click.option("--force", is_flag=True, help="Compile even what the cache already holds.")
@click.option("--check", is_flag=True, help="Compare the engine in the cache with PyTorch again; compile nothing.")
@click.option(
    "--refittable",
    is_flag=True,
    help="TensorRT on a GPU: an engine that takes the weights of a bundle trained anew, and is made of one that does.",
)
@click.option("--inspect", "inspected", is_flag=True, help="Show inputs, layers, precision and memory of the engine.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The TOML file whose [weights] section holds; ./config.toml if there is one.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")
def compile_bundle(
    source: str,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    capabilities: tuple[str, ...],
    keep_fp32: tuple[str, ...],
    calibration: Path | None,
    refittable: bool,
    force: bool,
    check: bool,
    inspected: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make a bundle executable, compare its answers with PyTorch's, and keep the engine in the cache."""
    from models.backbones.speech_source import speech_sources
    from models.backbones.text_source import text_sources
    from models.bundle import find_bundle, load_bundle
    from models.calibration_audio import CalibrationAudio
    from models.compile import check_engine, compile_engine
    from models.errors import EngineError
    from models.inspection import inspect
    from models.order import Order
    from models.weights_settings import load_weights_settings

    bundle = load_bundle(find_bundle(source))
    # What cannot be compiled is said before any weights are fetched.
    wanted = [
        Order(bundle, target, precision, capabilities=capabilities, keep_fp32=keep_fp32, refittable=refittable)
        for target in targets
        for precision in precisions
    ]
    audio = None if calibration is None else CalibrationAudio.read(calibration)
    settings = load_weights_settings(config)
    text = text_sources(bundle, settings, progress=not as_json)
    speech = speech_sources(bundle, settings, progress=not as_json)
    for one in wanted:
        order = replace(one, text=text, speech=speech, audio=audio)
        if check:
            compiled = check_engine(order)
        else:
            with _progress(shown=not as_json) as progress:
                compiled = compile_engine(order, force=force, progress=progress)
        if compiled.fault is not None:
            raise EngineError(compiled.fault)
        inside = inspect(order, compiled) if inspected else None
        if as_json:
            more = {} if inside is None else {"inspection": asdict(inside)}
            click.echo(json.dumps({**asdict(compiled.report), **more}))
            continue
        click.echo(_told(compiled.report, checked=check))
        if inside is not None:
            click.echo(_shown(inside))


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[BuildProgress], None] | None]:
    """A bar on stderr while a long build goes on; where nobody looks, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("building", total=None)
        yield lambda step: bars.update(task, description=step.phase[:40], completed=step.step, total=step.steps)


def _told(report: EngineReport, *, checked: bool) -> str:
    """A report in two lines."""
    built = "from the cache" if report.cached else f"compiled in {report.seconds:.1f} s"
    origin = "checked" if checked else built
    if report.largest_difference is None or report.label_agreement is None:
        cards = ", ".join(report.capabilities)
        found = f"for compute capability {cards}; no GPU here runs it, so that it is checked where it is first used"
        if report.graph_difference is not None and report.graph_label_agreement is not None:
            found += (
                "; checked as a graph, not as an engine: largest difference from PyTorch "
                f"{report.graph_difference:.1e}, labels agree in {report.graph_label_agreement:.1%} of "
                f"{report.graph_rows} rows"
            )
    else:
        found = (
            f"largest difference from PyTorch {report.largest_difference:.1e}, labels agree in "
            f"{report.label_agreement:.1%} of {report.rows} rows, {report.clips} of them clips"
        )
    return f"{report.engine} {report.precision}: {origin}; {found}\n  {report.path}"


def _shown(inside: Inspection) -> str:
    """An engine taken apart, line by line."""
    lines = [f"  {inside.engine}, {inside.precision}, {inside.size_bytes / 1e6:.1f} MB"]
    if inside.weights_bytes is not None:
        lines[0] += f", weights {inside.weights_bytes / 1e6:.1f} MB"
    if inside.device_memory_bytes is not None:
        lines[0] += f", memory of a call {inside.device_memory_bytes / 1e6:.1f} MB"
    for title, tensors in (("in", inside.inputs), ("out", inside.outputs)):
        lines += [f"  {title:<3} {t.name:<20} {t.dtype:<8} {list(t.shape)}" for t in tensors]
    count = sum(inside.layers.values())
    lines.append(f"  {count} layers: " + ", ".join(f"{number} {name}" for name, number in inside.layers.items()))
    for name, ms in list(inside.layer_ms.items())[:_SLOWEST_SHOWN]:
        lines.append(f"  {ms:8.3f} ms  {name}")
    if inside.note is not None:
        lines.append(f"  {inside.note}")
    return "\n".join(lines)
