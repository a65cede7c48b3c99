"""What can go wrong in measuring."""


class BenchmarkError(Exception):
    """Something cannot be measured here; the message says what and why."""
