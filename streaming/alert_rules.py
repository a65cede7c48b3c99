"""When a person should look at a call: the rules of `[alerts]`, which the dashboard watches.

A rule is written as it is read: `angry above 0.6 for 3 s`, `valence below 2.5 for 6 s`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN, ATTRIBUTE_NAMES
from models.settings_file import SettingsSection

_RULE: Final = re.compile(
    r"(?P<measure>[a-z_]{1,32}) (?P<side>above|below) (?P<threshold>\d{1,2}(?:\.\d{1,4})?)"
    r" for (?P<for_s>\d{1,4}(?:\.\d)?) s"
)
_LONGEST_S: Final = 600.0
_EXAMPLE: Final = "'angry above 0.6 for 3 s'"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One rule: a measure of a voice has been beyond a threshold for so long."""

    measure: str
    """A class of the ensemble, by its calibrated probability; or arousal, valence or dominance."""
    side: Literal["above", "below"]
    """Whether values from the threshold on alert, or up to it."""
    threshold: float
    """0 to 1 for a class, 1 to 7 for arousal, valence and dominance."""
    for_s: float
    """How long it has to hold, in seconds of the call."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a rule.

        Raises:
            ValueError: it is not written like one, or a figure is out of range.
        """
        written = _RULE.fullmatch(text)
        if written is None:
            raise ValueError(f"{text[:64]!r} is no rule: write one like {_EXAMPLE}")
        measure, threshold, for_s = written["measure"], float(written["threshold"]), float(written["for_s"])
        low, high = (ATTRIBUTE_MIN, ATTRIBUTE_MAX) if measure in ATTRIBUTE_NAMES else (0.0, 1.0)
        if not low <= threshold <= high:
            raise ValueError(f"{text!r}: the threshold of {measure} is from {low:g} to {high:g}")
        if for_s > _LONGEST_S:
            raise ValueError(f"{text!r}: at most {_LONGEST_S:g} s can be asked for")
        return cls(measure, "above" if written["side"] == "above" else "below", threshold, for_s)


def _as_written(text: str) -> str:
    AlertRule.parse(text)
    return text


class AlertSettings(SettingsSection):
    """`[alerts]`: what the dashboard calls people for."""

    rules: tuple[Annotated[str, AfterValidator(_as_written)], ...] = Field(
        default=("angry above 0.6 for 3 s", "valence below 2.5 for 6 s"), max_length=20
    )
    """Each is watched on every channel that is scored."""
