"""A picture of the live table, for documents."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from streaming.events import Event
from streaming.live_table import LiveTable

_WIDTH: Final = 110


class LivePicture:
    """Keeps the table as it last stood while words were still tentative."""

    def __init__(self, title: str) -> None:
        """Starts empty.

        Args:
            title: of the picture's window.
        """
        self._title = title
        self._table = LiveTable()
        self._shot: RenderableType | None = None

    def take(self, event: Event) -> None:
        """Follows one event."""
        self._table.take(event)
        if self._table.tentative:
            self._shot = self._table.render()

    def save(self, path: Path) -> None:
        """Writes it as SVG; the table as it stands if no words ever were tentative.

        Raises:
            OSError: the file cannot be written.
        """
        console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        console.print(self._shot or self._table.render())
        path.write_text(console.export_svg(title=self._title), encoding="utf-8")
