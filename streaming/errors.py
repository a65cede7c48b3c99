"""What can go wrong in the live runtime."""


class StreamingError(Exception):
    """Root of every error raised on purpose by `streaming`.

    Attributes:
        code: a short identifier clients can branch on; it travels in the `error` event.
        retryable: whether the same request may succeed later.
    """

    code: str = "internal"
    retryable: bool = False


class AudioFormatError(StreamingError, ValueError):
    """The encoding, rate or channel count is not one we read."""

    code = "audio_format"


class AudioFileError(StreamingError):
    """A file holds no audio that can be decoded."""

    code = "audio_file"


class ExportError(StreamingError):
    """What was found cannot be written where it was to go."""

    code = "export"


class ProtocolError(StreamingError):
    """A client sent something its protocol does not allow."""

    code = "protocol"


class TooFastError(ProtocolError):
    """A client sends audio faster than `[server] max_speed` allows, and the server does not let it wait."""

    code = "too_fast"


class ConfigError(StreamingError):
    """config.toml or an environment override is wrong; the message names the key and its line."""

    code = "config"


class RecognitionError(StreamingError):
    """One recognition request failed; the others go on."""

    code = "recognition"
    retryable = True


class CapacityError(StreamingError):
    """The server cannot take another session now.

    Attributes:
        retry_after_s: when to try again, where that can be estimated.
    """

    code = "capacity"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnknownSessionError(StreamingError):
    """No session of that name is live or was lately."""

    code = "unknown_session"


class SlowConsumerError(StreamingError):
    """A subscriber did not take its events in time; it may reconnect and read on."""

    code = "slow_consumer"
    retryable = True


class AuthorisationError(StreamingError):
    """A client showed no token, or one that does not allow what it asks."""

    code = "not_authorised"


class TooManyAttemptsError(AuthorisationError):
    """Too many wrong tokens came from a client's address; it has to wait.

    Args:
        message: for people.
        retry_after_s: whole seconds it has to wait; 0 where that is not known.
    """

    code = "too_many_attempts"
    retryable = True

    def __init__(self, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerError(StreamingError):
    """The server cannot start as configured; the message says what to change."""

    code = "server"


class ConnectionFailedError(StreamingError):
    """A client could not reach the server, or lost it."""

    code = "connection"
    retryable = True


class AudioLostError(StreamingError):
    """A client would have to send audio again that it does not keep any more."""

    code = "audio_lost"
