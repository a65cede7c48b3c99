"""Logs go to stderr, so that stdout stays for results."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

OWN_LOGGERS: Final = ("models", "streaming", "trainer", "benchmarks")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message and, if there is one, the error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: LogLevel = "info", format: LogFormat = "text", stream: TextIO | None = None) -> None:  # noqa: A002 - the key's name in config.toml
    """Sends our packages' messages from `level` up, and other libraries' warnings, to stderr.

    May be called again: the last call holds.

    Args:
        level: the least severe message shown.
        format: lines for people or for machines.
        stream: where to write; None for stderr.
    """
    stream = stream if stream is not None else sys.stderr
    handler: logging.Handler
    if format == "json":
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonLines())
    elif stream.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(file=stream), show_path=False, log_time_format="%X")
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
