"""How an unexpected exception is logged: where it was raised and of what type, never what was being said."""

from __future__ import annotations

import traceback


def where(error: BaseException) -> str:
    """Type and innermost place of an exception.

    Its message is left out on purpose: pydantic's, for one, quotes the value that did not fit, maybe a transcript.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
