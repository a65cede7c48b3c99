/* Made by npm run types from streaming/events.schema.json. */

export type MEDUSALiveEventsVersion1 =
  | SessionStarted
  | SessionResumed
  | SpeechStarted
  | TranscriptEvent
  | EmotionEvent
  | SpeechEnded
  | Degraded
  | ErrorEvent
  | SessionEnded;
export type Type = "session.started";
export type Version = 1;
export type Session = string;
export type Channel = null;
export type Role = null;
/**
 * Per session, from 1, without gaps.
 */
export type Seq = number;
/**
 * The session's audio clock.
 */
export type TimeS = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt = string;
export type Encoding = "pcm_s16le" | "mulaw" | "alaw" | "f32le";
export type RateHz = number;
export type Channels = number;
export type Bundle = string;
export type Sha256 = string;
export type Profile = string;
export type Labels = string[];
export type MaxMessageBytes = number;
/**
 * Longer speech is cut at its quietest point.
 */
export type MaxSegmentS = number;
/**
 * A session that sends nothing for so long is closed.
 */
export type IdleTimeoutS = number;
/**
 * Past events a subscriber can ask for again.
 */
export type ReplayEvents = number;
/**
 * Given as `resume` to `/v1/listen`; a secret of the session's owner.
 */
export type Token = string;
/**
 * How long the session waits.
 */
export type WithinS = number;
export type Type1 = "session.resumed";
export type Version1 = 1;
export type Session1 = string;
export type Channel1 = null;
export type Role1 = null;
/**
 * Per session, from 1, without gaps.
 */
export type Seq1 = number;
/**
 * The session's audio clock.
 */
export type TimeS1 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt1 = string;
/**
 * Of each channel, at the session's rate, since its beginning: what comes behind them is to be sent.
 */
export type ReceivedSamples = number;
export type Type2 = "speech.started";
export type Version2 = 1;
export type Session2 = string;
export type Channel2 = number;
export type Role2 = string;
/**
 * Per session, from 1, without gaps.
 */
export type Seq2 = number;
/**
 * The session's audio clock.
 */
export type TimeS2 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt2 = string;
/**
 * Counts from 1 within the channel.
 */
export type Segment = number;
export type StartS = number;
export type Type3 = "transcript";
export type Version3 = 1;
export type Session3 = string;
export type Channel3 = number;
export type Role3 = string;
/**
 * Per session, from 1, without gaps.
 */
export type Seq3 = number;
/**
 * The session's audio clock.
 */
export type TimeS3 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt3 = string;
export type Segment1 = number;
export type Final = boolean;
/**
 * Words that later interims keep; the whole text of a final.
 */
export type Committed = string;
/**
 * Words that may still change; empty in a final.
 */
export type Tentative = string;
/**
 * ISO 639-1 code; null when nothing was said.
 */
export type Language = string | null;
export type Text = string;
export type StartS1 = number;
export type EndS = number;
export type Probability = number;
/**
 * Aligned words of a final; empty in an interim.
 */
export type Words = WordInfo[];
export type Type4 = "emotion";
export type Version4 = 1;
export type Session4 = string;
export type Channel4 = number;
export type Role4 = string;
/**
 * Per session, from 1, without gaps.
 */
export type Seq4 = number;
/**
 * The session's audio clock.
 */
export type TimeS4 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt4 = string;
export type Segment2 = number;
export type StartS2 = number;
export type EndS1 = number;
export type Final1 = boolean;
/**
 * The class claimed; null when abstained. Over interims it changes only when a new one holds.
 */
export type Label = string | null;
/**
 * True when the ensemble is not sure enough, the speech is too short to judge, or nothing was said.
 */
export type Abstained = boolean;
/**
 * Calibrated probability of `label`, or of the best class when abstained; 0 when nothing was said.
 */
export type Confidence = number;
export type Arousal = number;
export type Valence = number;
export type Dominance = number;
export type Text1 = string;
/**
 * From the arrival of the last speech sample to the decision that speech ended; 0 for interims.
 */
export type EndpointMs = number;
/**
 * From the request to the start of its batch.
 */
export type QueueMs = number;
/**
 * That batch's own time.
 */
export type ComputeMs = number;
/**
 * From the arrival of the last speech sample that was looked at to this event.
 */
export type TotalMs = number;
/**
 * From the arrival of that sample to the request that was answered.
 */
export type RequestMs = number;
/**
 * Of `compute_ms`, the speech encoder's part.
 */
export type EncodeMs = number;
/**
 * Of `compute_ms`, until the words were read.
 */
export type DecodeMs = number;
/**
 * Of `compute_ms`, until the emotion was scored.
 */
export type EmotionMs = number;
/**
 * From when the answer was there and due until this event was handed on.
 */
export type EmitMs = number;
export type Type5 = "speech.ended";
export type Version5 = 1;
export type Session5 = string;
export type Channel5 = number;
export type Role5 = string;
/**
 * Per session, from 1, without gaps.
 */
export type Seq5 = number;
/**
 * The session's audio clock.
 */
export type TimeS5 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt5 = string;
export type Segment3 = number;
export type StartS3 = number;
export type EndS2 = number;
export type Reason = "silence" | "max_length" | "stream_end";
export type Type6 = "degraded";
export type Version6 = 1;
export type Session6 = string;
/**
 * Counts from 0; null where the event concerns the whole session.
 */
export type Channel6 = number | null;
/**
 * Of the channel, or null like it.
 */
export type Role6 = string | null;
/**
 * Per session, from 1, without gaps.
 */
export type Seq6 = number;
/**
 * The session's audio clock.
 */
export type TimeS6 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt6 = string;
export type Reason1 = "overload" | "slow_consumer" | "lag";
/**
 * Since the last such event.
 */
export type DroppedInterims = number;
export type LagMs = number;
/**
 * What is given up from now on, where that has changed; null where this event is not about it.
 */
export type Step = ("none" | "slower_interims" | "wordless_interims" | "finals_only") | null;
export type Type7 = "error";
export type Version7 = 1;
export type Session7 = string;
/**
 * Counts from 0; null where the event concerns the whole session.
 */
export type Channel7 = number | null;
/**
 * Of the channel, or null like it.
 */
export type Role7 = string | null;
/**
 * Per session, from 1, without gaps.
 */
export type Seq7 = number;
/**
 * The session's audio clock.
 */
export type TimeS7 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt7 = string;
/**
 * A short identifier to branch on, such as `audio_format` or `recognition`.
 */
export type Code = string;
/**
 * What was wrong and what to do about it, for people.
 */
export type Message = string;
export type Retryable = boolean;
/**
 * When to try again, where that can be estimated.
 */
export type RetryAfterS = number | null;
export type Type8 = "session.ended";
export type Version8 = 1;
export type Session8 = string;
export type Channel8 = null;
export type Role8 = null;
/**
 * Per session, from 1, without gaps.
 */
export type Seq8 = number;
/**
 * The session's audio clock.
 */
export type TimeS8 = number;
/**
 * UTC, RFC 3339 with milliseconds; never null on the wire.
 */
export type EmittedAt8 = string;
export type Reason2 = string;
/**
 * Audio received, on the session's clock: channels run side by side and count once.
 */
export type AudioS = number;
/**
 * Length of all segments of all channels.
 */
export type SpeechS = number;
export type Segments = number;
/**
 * Segments answered; the others ended in an `error` event.
 */
export type Finals = number;
export type Interims = number;

/**
 * The first event of every session.
 */
export interface SessionStarted {
  type: Type;
  version: Version;
  session: Session;
  channel: Channel;
  role: Role;
  seq: Seq;
  time_s: TimeS;
  emitted_at: EmittedAt;
  audio: AudioInfo;
  model: ModelInfo;
  limits: Limits;
  /**
   * For whoever sends the audio; null for all others, and where sessions end with their connection.
   */
  resume: ResumeInfo | null;
}
/**
 * The audio a session receives.
 */
export interface AudioInfo {
  encoding: Encoding;
  rate_hz: RateHz;
  channels: Channels;
}
/**
 * The ensemble that answers.
 */
export interface ModelInfo {
  bundle: Bundle;
  sha256: Sha256;
  profile: Profile;
  labels: Labels;
}
/**
 * What the server holds a session to.
 */
export interface Limits {
  max_message_bytes: MaxMessageBytes;
  max_segment_s: MaxSegmentS;
  idle_timeout_s: IdleTimeoutS;
  replay_events: ReplayEvents;
}
/**
 * How a session is taken up again after its connection broke.
 */
export interface ResumeInfo {
  token: Token;
  within_s: WithinS;
}
/**
 * The first message on a connection that takes a session up again; what the client missed follows.
 *
 * It belongs to the connection, not to the session's numbered events: its `seq` is that of the last event which the
 * client says it has.
 */
export interface SessionResumed {
  type: Type1;
  version: Version1;
  session: Session1;
  channel: Channel1;
  role: Role1;
  seq: Seq1;
  time_s: TimeS1;
  emitted_at: EmittedAt1;
  received_samples: ReceivedSamples;
}
/**
 * Someone began to speak.
 */
export interface SpeechStarted {
  type: Type2;
  version: Version2;
  session: Session2;
  channel: Channel2;
  role: Role2;
  seq: Seq2;
  time_s: TimeS2;
  emitted_at: EmittedAt2;
  segment: Segment;
  start_s: StartS;
}
/**
 * What was said in a segment, so far or in all.
 */
export interface TranscriptEvent {
  type: Type3;
  version: Version3;
  session: Session3;
  channel: Channel3;
  role: Role3;
  seq: Seq3;
  time_s: TimeS3;
  emitted_at: EmittedAt3;
  segment: Segment1;
  final: Final;
  committed: Committed;
  tentative: Tentative;
  language: Language;
  words: Words;
}
/**
 * One word on the audio clock.
 */
export interface WordInfo {
  text: Text;
  start_s: StartS1;
  end_s: EndS;
  probability: Probability;
}
/**
 * How a segment was said, so far or in all; only on channels that are scored.
 */
export interface EmotionEvent {
  type: Type4;
  version: Version4;
  session: Session4;
  channel: Channel4;
  role: Role4;
  seq: Seq4;
  time_s: TimeS4;
  emitted_at: EmittedAt4;
  segment: Segment2;
  start_s: StartS2;
  end_s: EndS1;
  final: Final1;
  label: Label;
  abstained: Abstained;
  confidence: Confidence;
  scores: Scores;
  attributes: AttributesInfo | null;
  text: Text1;
  latency: Latency;
}
/**
 * By class; empty, and `attributes` null, when nothing was said.
 */
export interface Scores {
  [k: string]: number;
}
/**
 * Self-assessment manikin scale, 1 (low) to 7 (high).
 */
export interface AttributesInfo {
  arousal: Arousal;
  valence: Valence;
  dominance: Dominance;
}
/**
 * Where the time between speech and its emotion went.
 *
 * `total_ms` is `emit_ms` more than the greater of `endpoint_ms` and `request_ms + queue_ms + compute_ms`: finals are
 * computed ahead, so that the answer is often there before speech counts as ended.
 */
export interface Latency {
  endpoint_ms: EndpointMs;
  queue_ms: QueueMs;
  compute_ms: ComputeMs;
  total_ms: TotalMs;
  request_ms: RequestMs;
  encode_ms: EncodeMs;
  decode_ms: DecodeMs;
  emotion_ms: EmotionMs;
  emit_ms: EmitMs;
}
/**
 * A segment is over; its final transcript and emotion follow.
 */
export interface SpeechEnded {
  type: Type5;
  version: Version5;
  session: Session5;
  channel: Channel5;
  role: Role5;
  seq: Seq5;
  time_s: TimeS5;
  emitted_at: EmittedAt5;
  segment: Segment3;
  start_s: StartS3;
  end_s: EndS2;
  reason: Reason;
}
/**
 * The server gives less than it should; finals are never dropped.
 */
export interface Degraded {
  type: Type6;
  version: Version6;
  session: Session6;
  channel: Channel6;
  role: Role6;
  seq: Seq6;
  time_s: TimeS6;
  emitted_at: EmittedAt6;
  reason: Reason1;
  dropped_interims: DroppedInterims;
  lag_ms: LagMs;
  step: Step;
}
/**
 * Something went wrong; the session goes on unless `session.ended` follows.
 */
export interface ErrorEvent {
  type: Type7;
  version: Version7;
  session: Session7;
  channel: Channel7;
  role: Role7;
  seq: Seq7;
  time_s: TimeS7;
  emitted_at: EmittedAt7;
  code: Code;
  message: Message;
  retryable: Retryable;
  retry_after_s: RetryAfterS;
}
/**
 * The last event of every session.
 */
export interface SessionEnded {
  type: Type8;
  version: Version8;
  session: Session8;
  channel: Channel8;
  role: Role8;
  seq: Seq8;
  time_s: TimeS8;
  emitted_at: EmittedAt8;
  reason: Reason2;
  totals: Totals;
}
/**
 * What a session amounted to.
 */
export interface Totals {
  audio_s: AudioS;
  speech_s: SpeechS;
  segments: Segments;
  finals: Finals;
  interims: Interims;
}
