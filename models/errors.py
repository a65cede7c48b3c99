"""What can go wrong on the ground floor; every message says what was wrong and what to do about it."""


class ModelsError(Exception):
    """Root of every error raised on purpose by `models`."""


class BundleError(ModelsError):
    """A bundle on disk is missing, damaged or not of a format this version reads."""


class WeightsError(ModelsError):
    """Pretrained weights cannot be found, fetched or verified."""


class EngineError(ModelsError):
    """An engine cannot be built, or its answers do not agree with PyTorch's."""


class FeatureError(ModelsError, ValueError):
    """Input features or audio do not have the shape, type or length they must have."""
