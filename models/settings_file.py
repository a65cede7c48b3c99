"""Settings from a TOML file and the environment, with errors that name the line or the variable at fault."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from models.toml_lines import TomlLines

ENVIRONMENT_PREFIX: Final = "MEDUSA_"
NESTING: Final = "__"
DEFAULT_FILE: Final = Path("config.toml")


class SettingsSection(BaseModel):
    """Base of a section: one TOML table whose unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


class SettingsRoot(BaseSettings):
    """Base of a whole settings model: its fields are sections.

    Built directly it reads keyword arguments, then the environment, then defaults; `read_settings` puts the file
    between the last two.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTING,
    )

    @classmethod
    def settings_customise_sources(cls, settings_cls: type[BaseSettings], *_args: Any, **sources: Any) -> Any:
        """Keyword arguments win over the environment, and that over the defaults."""
        return sources["init_settings"], _Environment(settings_cls)


class _Environment(EnvSettingsSource):
    """The environment, where a list may be written as JSON or with commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            if get_origin(field.annotation) is tuple:
                return [part.strip() for part in str(value).split(",")]
            return value


class SettingsProblem(ValueError):  # noqa: N818 - callers turn it into their own error
    """The settings are wrong; the message has one line per problem."""


RootT = TypeVar("RootT", bound=SettingsRoot)


def read_settings(root: type[RootT], path: Path | None = None) -> RootT:
    """Settings from the environment, then a TOML file, then defaults.

    Tables and variables of no section of `root` are errors, unless its configuration says `extra="ignore"`.

    Args:
        root: the settings model.
        path: the file; None for `config.toml` in the working folder if there is one.

    Raises:
        SettingsProblem: the file cannot be read, or keys or values are wrong; one line per problem.
    """
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    written: dict[str, Any] = {}
    problems: list[str] = []
    lines: TomlLines | None = None
    if path is not None:
        written, lines = _read_toml(path)
        problems += _file_problems(root, written, path, lines)
    environment = _Environment(root)()
    problems += _unknown_variables(root)
    problems += _environment_problems(root, environment)
    if problems:
        raise SettingsProblem("\n".join(problems))
    known = {name: table for name, table in written.items() if name in root.model_fields}
    try:
        return root(**_merged(known, environment))
    except ValidationError as error:
        # Each key is right by itself: only rules between the keys of a section can fail here.
        places = [(str(detail["loc"][0]), _reason(detail)) for detail in error.errors()]
        raise SettingsProblem(
            "\n".join(f"{_origin(name, path, lines, environment)}: [{name}]: {reason}" for name, reason in places)
        ) from None


def _origin(section: str, path: Path | None, lines: TomlLines | None, environment: Mapping[str, Any]) -> str:
    variables = [f"environment variable {_variable((section, key))}" for key in environment.get(section, ())]
    files = [f"{path}:{lines.line((section,))}"] if lines is not None and lines.has((section,)) else []
    return " and ".join((*files, *variables))


def _read_toml(path: Path) -> tuple[dict[str, Any], TomlLines]:
    try:
        text = path.read_bytes().decode("utf-8")
        return tomllib.loads(text), TomlLines(text.replace("\r\n", "\n"))
    except FileNotFoundError:
        raise SettingsProblem(
            f"{path}: there is no such file; give another, or leave it out for the defaults"
        ) from None
    except OSError as error:
        raise SettingsProblem(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SettingsProblem(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsProblem(f"{path}: is not valid TOML: {error}") from error


def _sections(root: type[SettingsRoot]) -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in root.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _file_problems(root: type[SettingsRoot], written: Mapping[str, Any], path: Path, lines: TomlLines) -> Iterable[str]:
    sections = _sections(root)
    for name, table in written.items():
        if name not in sections:
            if root.model_config.get("extra") != "ignore":
                kind = "section" if isinstance(table, dict) else "key"
                shown = f"[{name}]" if isinstance(table, dict) else name
                hint = _suggestion(name, sections, "there are")
                yield f"{path}:{lines.line((name,))}: unknown {kind} {shown}; {hint}"
            continue
        for location, reason in _wrong_keys(sections[name], table, strict=True):
            yield f"{path}:{lines.line((name, *location))}: {_dotted((name, *location))}: {reason}"


def _environment_problems(root: type[SettingsRoot], environment: Mapping[str, Any]) -> Iterable[str]:
    sections = _sections(root)
    for name, table in environment.items():
        for location, reason in _wrong_keys(sections[name], table, strict=False):
            yield f"environment variable {_variable((name, *location))}: {reason}"


def _unknown_variables(root: type[SettingsRoot]) -> Iterable[str]:
    """Variables that look like ours and would be passed over in silence."""
    if root.model_config.get("extra") == "ignore":
        return
    prefixes = {f"{ENVIRONMENT_PREFIX}{section.upper()}": section for section in _sections(root)}
    for variable in sorted(os.environ):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        section, nested, key = variable.partition(NESTING)
        if nested and section not in prefixes:
            hint = _suggestion(section, prefixes, "those known begin with")
            yield f"environment variable {variable}: unknown section; {hint}"
        elif not nested and (near := next((p for p in prefixes if variable.startswith(f"{p}_")), None)):
            key = variable.removeprefix(f"{near}_")
            yield f"environment variable {variable}: did you mean {near}{NESTING}{key}, with two underscores?"


def _wrong_keys(section: type[BaseModel], table: Any, *, strict: bool) -> Iterable[tuple[tuple[str, ...], str]]:
    """Where and why a table is not this section; in a file numbers must be numbers, in the environment all is text."""
    try:
        if strict:
            section.model_validate_json(json.dumps(table, default=str), strict=True)
        else:
            section.model_validate(table)
    except ValidationError as error:
        for detail in error.errors():
            if not detail["loc"] and isinstance(table, dict):
                continue  # a rule between keys: the other key may come from another source
            location = tuple(str(part) for part in detail["loc"])
            if detail["type"] == "extra_forbidden":
                hint = _suggestion(location[-1], section.model_fields, "keys are")
                yield location, f"unknown key; {hint}"
            else:
                field = section.model_fields.get(location[0]) if location else None
                yield location, _reason(detail, is_secret=field is not None and not field.repr)


def _reason(detail: Mapping[str, Any], *, is_secret: bool = False) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    message = message[0].lower() + message[1:]
    value = detail.get("input")
    return message if is_secret or isinstance(value, dict) else f"{message}, got {value!r}"


def _suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"{otherwise} {', '.join(known)}"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}


def _dotted(location: Iterable[str | int]) -> str:
    section, *keys = (str(part) for part in location)
    return " ".join((f"[{section}]", *keys[:1]))


def _variable(location: Iterable[str]) -> str:
    return ENVIRONMENT_PREFIX + NESTING.join(part.upper() for part in list(location)[:2])
