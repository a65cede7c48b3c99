"""config.toml: every setting of the live runtime, with its default and its bounds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.settings_file import SettingsProblem, SettingsRoot, SettingsSection, read_settings
from models.weights_settings import WeightsSettings
from streaming.alert_rules import AlertSettings
from streaming.assistant_settings import HomeAssistantSettings, WyomingSettings
from streaming.errors import ConfigError
from streaming.events import IDENTIFIER_PATTERN
from streaming.setting_types import MAX_PATH, Address, Host, Levels, Origin, PathText, Port, Text

Disclosure = Literal["full", "masked", "off"]
"""How much of what was said is told."""


class ServerSettings(SettingsSection):
    """`[server]`: where it listens and what one client may take."""

    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8765
    """TCP port; 0 for a free one."""
    tokens_file: PathText = ""
    """File of accepted tokens, see `streaming.tokens`; empty for no authentication."""
    max_failed_tokens: int = Field(default=10, ge=0, le=100)
    """Wrong tokens from one address at which it is refused for a while; 0 for never."""
    failed_tokens_window_s: float = Field(default=60.0, ge=1, le=86_400)
    """They count when they come within so long."""
    failed_tokens_refusal_s: float = Field(default=60.0, ge=1, le=86_400)
    """The address is refused for so long."""
    origins: tuple[Origin, ...] = Field(default=(), max_length=100)
    """Origins of the web pages that are let in; none for the rule of `streaming.auth.Gate`."""
    trusted_proxies: tuple[Address, ...] = Field(default=(), max_length=100)
    """Peers whose `X-Forwarded-For` names the client."""
    tls_cert: PathText = ""
    """PEM certificate chain; empty for no TLS."""
    tls_key: PathText = ""
    """PEM private key of the certificate."""
    max_sessions: int = Field(default=32, ge=1, le=10_000)
    """Sessions at once; more are asked to try again later."""
    max_channels: int = Field(default=2, ge=1, le=16)
    """Channels in one session."""
    max_message_bytes: int = Field(default=1_048_576, ge=1024, le=67_108_864)
    """Largest WebSocket message."""
    event_buffer: int = Field(default=1000, ge=10, le=100_000)
    """Events of a session kept for replay."""
    subscriber_queue: int = Field(default=1000, ge=10, le=100_000)
    """Events that wait for one slow subscriber."""
    idle_timeout_s: float = Field(default=60.0, ge=1, le=86_400)
    """A session without audio or keepalive for so long is closed."""
    max_speed: float = Field(default=4.0, ge=0, le=1000)
    """Times real time that audio may come; 0 for no limit."""
    burst_s: float = Field(default=60.0, ge=1, le=3600)
    """Audio that may come at once."""
    too_fast: Literal["pace", "refuse"] = "pace"
    """Whether faster audio waits in its socket, or ends the session."""
    resume_s: float = Field(default=20.0, ge=0, le=3600)
    """How long a session whose connection broke waits for its client; 0 to end it at once."""
    shutdown_grace_s: float = Field(default=10.0, ge=0, le=600)
    """How long a stopping server waits for what is in flight."""
    max_connections: int = Field(default=512, ge=4, le=100_000)
    """Connections open at once, whatever they are for."""
    handshake_timeout_s: float = Field(default=10.0, ge=0.1, le=600)
    """How long a client may take for a TLS handshake or a request."""
    max_controls_per_s: int = Field(default=50, ge=1, le=10_000)
    """Text messages and pings that a client may send in a second."""

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key go together; set both or neither")
        return self


class MqttSettings(SettingsSection):
    """`[mqtt]`: the broker that events are published to."""

    enabled: bool = False
    """Whether events are published at all."""
    host: Host = "127.0.0.1"
    """The broker's address."""
    port: int = Field(default=1883, ge=1, le=65535)
    """The broker's port."""
    prefix: Levels = "medusa/v1"
    """First levels of every topic."""
    username: Text = ""
    """User name; empty for none."""
    password: Annotated[Text, Field(repr=False)] = ""
    """Password; empty for none."""
    tls: bool = False
    """Whether the connection is encrypted, checked against the system's certificates."""
    outbox: PathText = ""
    """File that events wait in until the broker took them; empty for one in the user's state folder."""
    outbox_mib: int = Field(default=256, ge=0, le=65_536)
    """Events that may wait in it, in MiB; 0 to keep events in memory alone."""
    queue: int = Field(default=1000, ge=10, le=100_000)
    """Events kept in memory, where there is no outbox or it cannot be written."""


class AsrSettings(SettingsSection):
    """`[asr]`: the transcriber."""

    model: Literal["whisper-base"] = "whisper-base"
    """Name in the weights registry."""
    language: str = Field(default="", pattern=r"^([a-z]{2,3})?$")
    """Language of the speech; empty to detect it per segment."""
    interim_s: float = Field(default=1.0, ge=0.2, le=10)
    """New speech between two interim results."""
    no_speech_threshold: float = Field(default=0.6, ge=0, le=1)
    """Text is dropped when Whisper's no-speech probability is above this and its log-probability below the next."""
    log_probability_threshold: float = Field(default=-1.0, ge=-10, le=0)
    """Mean log-probability of a token under which a text is not trusted."""
    tokens_floor: int = Field(default=8, ge=1, le=224)
    """Tokens that any segment may take."""
    tokens_per_s: float = Field(default=6.0, ge=1, le=20)
    """Tokens more for each second of speech."""
    compute_type: Literal["int8", "int8_float16", "float16", "float32", "default"] = "int8"
    """CTranslate2's name of the arithmetic; `int8` computes the encoder in integers too."""
    threads: int = Field(default=0, ge=0, le=256)
    """CPU threads of the encoder and the ensemble; 0 for as many as there are processors."""
    decoder_threads: int = Field(default=1, ge=0, le=256)
    """CPU threads that read words; 0 lets CTranslate2 choose. A small decoder is fastest with one."""


class VadSettings(SettingsSection):
    """`[vad]`: what counts as speech, and where a segment begins and ends."""

    kind: Literal["webrtc", "silero"] = "silero"
    """The detector."""
    aggressiveness: int = Field(default=2, ge=0, le=3)
    """webrtc: how readily a frame is called noise."""
    threshold: float = Field(default=0.3, gt=0, lt=1)
    """silero: probability from which a frame is speech."""
    start_ms: int = Field(default=60, ge=20, le=1000)
    """Speech that opens a segment."""
    pause_ms: int = Field(default=200, ge=20, le=5000)
    """Silence after which the final result is computed ahead."""
    endpoint_ms: int = Field(default=600, ge=40, le=10_000)
    """Silence that ends a segment, as long as little is known of the speaker's pauses."""
    endpoint_min_ms: int = Field(default=500, ge=40, le=10_000)
    """Silence that ends a segment of the briskest speaker."""
    endpoint_max_ms: int = Field(default=900, ge=40, le=10_000)
    """Silence that ends a segment of the most hesitant one."""
    pre_roll_ms: int = Field(default=300, ge=0, le=2000)
    """Audio kept from before the onset."""
    post_roll_ms: int = Field(default=160, ge=0, le=2000)
    """Audio kept from after the last speech."""
    min_segment_ms: int = Field(default=200, ge=20, le=5000)
    """Segments with less speech are dropped."""
    max_segment_s: float = Field(default=15.0, ge=2, le=28)
    """Longer speech is cut at its quietest point."""

    @model_validator(mode="after")
    def _silences_in_order(self) -> Self:
        for lower, upper in pairwise(("pause_ms", "endpoint_min_ms", "endpoint_ms", "endpoint_max_ms")):
            low, high = getattr(self, lower), getattr(self, upper)
            if low > high:
                raise ValueError(
                    f"{lower} must not be above {upper}, got {low} and {high}; lower the one or raise the other"
                )
        return self


class EnsembleSettings(SettingsSection):
    """`[ensemble]`: the emotion classifiers."""

    bundle: str = Field(default="base", min_length=1, max_length=MAX_PATH)
    """Name of a shipped bundle or path of a bundle folder."""
    engine: Literal["auto", "tensorrt", "tensorrt_rtx", "cuda", "onnx", "torch"] = "auto"
    """What runs it."""
    precision: Literal["fp32", "fp16", "bf16", "int8", "fp8"] = "fp32"
    """Arithmetic of the engine."""
    abstain: bool = True
    """Whether an unsure ensemble answers with no label."""


class EmotionSettings(SettingsSection):
    """`[emotion]`: from scores to labels."""

    hold_interims: int = Field(default=2, ge=1, le=20)
    """Interims in a row that must agree before a shown label changes."""
    low_confidence_s: float = Field(default=1.0, ge=0, le=10)
    """Segments shorter than this are too short to trust; they abstain."""


class RolesSettings(SettingsSection):
    """`[roles]`: whose emotions are inferred."""

    score_agents: bool = False
    """Whether channels with the role agent are emotion-scored too."""


class TwilioSettings(SettingsSection):
    """`[twilio]`: calls that Twilio streams to `/v1/twilio`."""

    inbound_role: str = Field(default="customer", pattern=IDENTIFIER_PATTERN)
    """Of who is heard on the inbound track: whoever called, or was called, through Twilio."""
    outbound_role: str = Field(default="agent", pattern=IDENTIFIER_PATTERN)
    """Of what is played to them."""


class AudiohookSettings(SettingsSection):
    """`[audiohook]`: calls that Genesys streams to `/v1/audiohook`."""

    external_role: str = Field(default="customer", pattern=IDENTIFIER_PATTERN)
    """Of who is on the line."""
    internal_role: str = Field(default="agent", pattern=IDENTIFIER_PATTERN)
    """Of who works there."""
    secret_file: PathText = ""
    """File with the client secret in base64: handshakes must be signed with it. Empty to ask for no signature."""


class PrivacySettings(SettingsSection):
    """`[privacy]`: what leaves the recogniser."""

    transcripts: Disclosure = "full"
    """Whether events carry words as they are, without digits and e-mail addresses, or not at all."""


class BatcherSettings(SettingsSection):
    """`[batcher]`: how requests of all sessions share the recogniser."""

    max_batch: int = Field(default=8, ge=1, le=256)
    """Requests in one batch."""
    max_padded_s: float = Field(default=80.0, ge=30, le=3600)
    """Audio in one batch, padding included."""
    max_queue: int = Field(default=256, ge=8, le=100_000)
    """Requests that wait; interims go first when it is full."""
    deadline_ms: int = Field(default=500, ge=50, le=60_000)
    """How soon finals are to be answered: batches are kept short enough for it."""
    max_wait_ms: int = Field(default=0, ge=0, le=1000)
    """How long a lone request waits for company."""


class LoggingSettings(SettingsSection):
    """`[logging]`: what is logged, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message shown."""
    format: Literal["text", "json"] = "text"
    """Lines for people or for machines."""


class Settings(SettingsRoot):
    """All settings; each component receives its own section."""

    server: ServerSettings = ServerSettings()
    mqtt: MqttSettings = MqttSettings()
    asr: AsrSettings = AsrSettings()
    vad: VadSettings = VadSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    emotion: EmotionSettings = EmotionSettings()
    roles: RolesSettings = RolesSettings()
    twilio: TwilioSettings = TwilioSettings()
    audiohook: AudiohookSettings = AudiohookSettings()
    wyoming: WyomingSettings = WyomingSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    privacy: PrivacySettings = PrivacySettings()
    alerts: AlertSettings = AlertSettings()
    batcher: BatcherSettings = BatcherSettings()
    weights: WeightsSettings = WeightsSettings()
    logging: LoggingSettings = LoggingSettings()


def load_settings(path: Path | None = None) -> Settings:
    """Settings from the environment (`MEDUSA_SERVER__PORT=...`), then a TOML file, then the defaults.

    Args:
        path: the file; None for `config.toml` in the working folder if there is one.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; one line per problem, each with the file and
            line or the environment variable.
    """
    try:
        return read_settings(Settings, path)
    except SettingsProblem as problem:
        raise ConfigError(str(problem)) from None
