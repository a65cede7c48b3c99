"""A file for each recording, in one folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from streaming.errors import ExportError


class ExportFolder:
    """Writes what was found in each recording to a file that is called like it.

    Recordings of one name, in several folders or of several kinds, are told apart by as much of their path as it takes.
    """

    def __init__(self, folder: Path, recordings: Sequence[Path], suffix: str) -> None:
        """Makes the folder.

        Args:
            folder: is made if it is not there.
            recordings: all that will be written, each once.
            suffix: of the files, with its dot.

        Raises:
            ExportError: the folder cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"cannot make the folder {folder}: {error.strerror}") from None
        self._folder = folder
        self._names = _names(recordings, suffix)

    def path(self, recording: Path) -> Path:
        """Where what was found in a recording is written."""
        return self._folder / self._names[recording]

    def write(self, recording: Path, text: str) -> None:
        """Writes, over what was there before.

        Raises:
            ExportError: the file cannot be written.
        """
        path = self.path(recording)
        try:
            path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}") from None


def _names(recordings: Sequence[Path], suffix: str) -> dict[Path, str]:
    names = {path: path.stem for path in recordings}
    for depth in range(1, 1 + max((len(path.parts) for path in recordings), default=0)):
        taken = Counter(name.casefold() for name in names.values())
        for path, name in names.items():
            if taken[name.casefold()] > 1:
                names[path] = "-".join(part for part in path.parts[-depth:] if part not in {path.anchor, ".."})
    taken = Counter(name.casefold() for name in names.values())
    for place, (path, name) in enumerate(names.items()):
        if taken[name.casefold()] > 1:
            names[path] = f"{name}-{place + 1}"
    return {path: f"{name}{suffix}" for path, name in names.items()}
