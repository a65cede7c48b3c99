"""Options that several commands have, and the settings they lead to."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from streaming.config import Settings

_LANGUAGE_PATTERN: Final = r"[a-z]{2,3}"


def _language(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(_LANGUAGE_PATTERN, value):
        raise click.BadParameter(f"{value!r} is no ISO 639 code such as en, de or yue.")
    return value


CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="config.toml; the one in this folder by default.",
)
LANGUAGE = click.option(
    "--language",
    callback=_language,
    metavar="CODE",
    help="ISO 639 code of the speech, such as en; detected by default.",
)
ROLES_HELP: Final = "Role of a channel, in their order; may be given again. The emotions of an agent are not inferred."
JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON lines to stdout, nothing else.")


def command_settings(path: Path | None) -> Settings:
    """Settings, and the log as they want it; `--debug` goes before them."""
    from models.logs import configure_logging
    from streaming.config import load_settings

    settings = load_settings(path)
    debugging = logging.getLogger("streaming").isEnabledFor(logging.DEBUG)
    configure_logging("debug" if debugging else settings.logging.level, settings.logging.format)
    return settings
