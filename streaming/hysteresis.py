"""Label hysteresis: a shown label changes only when the new one holds."""

from __future__ import annotations

from typing import Final


class LabelHysteresis:
    """Steadies the labels of one segment's interims.

    The first label is shown at once: where nothing is shown, nothing flickers. From then on another label, or the
    absence of one, must come `hold` times in a row before it is shown.

    Args:
        hold: interims in a row that must agree, at least 1 (every label is shown as it comes).

    Raises:
        ValueError: `hold` is below 1.
    """

    def __init__(self, hold: int) -> None:
        if hold < 1:
            raise ValueError(f"hold must be at least 1, got {hold}")
        self._hold: Final = hold
        self._shown: str | None = None
        self._rival: str | None = None
        self._streak = 0

    @property
    def shown(self) -> str | None:
        """The label shown now; None when nothing is claimed."""
        return self._shown

    def push(self, label: str | None) -> str | None:
        """Takes an interim's own label (None when it abstained) and says which to show."""
        if label == self._shown:
            self._streak = 0
            return self._shown
        self._streak = self._streak + 1 if self._streak and label == self._rival else 1
        self._rival = label
        if self._shown is None or self._streak >= self._hold:
            self._shown = label
            self._streak = 0
        return self._shown
