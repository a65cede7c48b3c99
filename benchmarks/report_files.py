"""Where a measurement's files go, and what they are called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def file_stem(name: str, report: dict[str, Any], *particulars: str) -> str:
    """A name, the machine, and what else tells this run from others, in letters that any file system takes.

    Args:
        name: of the benchmark.
        report: the one object of the contract.
        particulars: words more.
    """
    machine = report["machine"]
    words = " ".join([machine["gpu"] or f"{machine['cores']} cores", *particulars])
    return f"{name}-" + re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def write_report(folder: Path, stem: str, report: dict[str, Any]) -> Path:
    """Writes the result into a folder, which is made where it is not there.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{stem}.json"
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return file


def new_folder(folder: Path) -> Path:
    """Makes a folder that is not there yet.

    Raises:
        FileExistsError: it is.
    """
    folder.mkdir()
    return folder
