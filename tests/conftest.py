"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# A commit passes or fails, whenever it is tested. To look for what no run has met yet, as often as one likes:
# `pytest --hypothesis-profile=searching`.
# How long an example takes says more of the machine than of the code: no deadline.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", max_examples=2000, print_blob=True)
