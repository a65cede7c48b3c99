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


class ProtocolError(StreamingError):
    """A client sent something its protocol does not allow."""

    code = "protocol"


class ConfigError(StreamingError):
    """config.toml or an environment override is wrong; the message names the key and its line."""

    code = "config"


class RecognitionError(StreamingError):
    """One recognition request failed; the others go on."""

    code = "recognition"
    retryable = True


class CapacityError(StreamingError):
    """The server cannot take another session now."""

    code = "capacity"
    retryable = True
