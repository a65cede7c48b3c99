"""What can go wrong in training."""


class TrainerError(Exception):
    """Root of every error raised on purpose by `trainer`."""


class CorpusError(TrainerError):
    """A corpus folder, manifest or clip is missing or damaged; the message lists what."""


class RecipeError(TrainerError, ValueError):
    """A training recipe asks for something impossible."""


class FeatureStoreError(TrainerError):
    """Stored features are missing, damaged, or were made under another policy."""


class ExtractionError(TrainerError):
    """Features could not be extracted for a reason that lies in no clip."""


class MetricError(TrainerError, ValueError):
    """A metric was asked of data it is not defined on."""


class TrainingStoppedError(TrainerError):
    """Somebody asked training to stop; everything done so far is kept, and the same command goes on from there."""

    def __init__(self, message: str = "stopped as asked; the same command goes on from here") -> None:
        """Takes what to tell."""
        super().__init__(message)
