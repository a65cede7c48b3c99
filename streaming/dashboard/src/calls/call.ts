// What is known of one call, from its events alone. Nothing here knows of a page, a socket or a clock.

import type { Degraded, EmotionEvent, MEDUSALiveEventsVersion1 as Event, TranscriptEvent } from "../wire/events.ts";
import { Mood } from "./mood.ts";

export interface Emotion {
  /** Null where the ensemble is not sure enough. */
  label: string | null;
  /** The class of the highest score, whether claimed or not; null where nothing was said. */
  best: string | null;
  confidence: number;
  scores: Record<string, number>;
  arousal: number | null;
  valence: number | null;
  dominance: number | null;
  final: boolean;
}

/** One stretch of speech. */
export interface Segment {
  channel: number;
  number: number;
  startS: number;
  /** So far, while somebody speaks. */
  endS: number;
  over: boolean;
  committed: string;
  tentative: string;
  final: boolean;
  emotion: Emotion | null;
  latency: EmotionEvent["latency"] | null;
}

/** One measurement of a voice on the clock of the call. */
export interface Point {
  timeS: number;
  arousal: number;
  valence: number;
  /** How unwell it goes, 0 to 1: see `Mood`. */
  worry: number;
}

export interface Bounds {
  /** Segments that are kept of a call. */
  segments: number;
  /** Points that are kept of a channel. */
  points: number;
}

export const ON_THE_WALL: Bounds = { segments: 12, points: 48 };
export const OPENED: Bounds = { segments: 2000, points: 4000 };

export class Channel {
  readonly number: number;
  role: string;
  speaking = false;
  emotion: Emotion | null = null;
  readonly mood = new Mood();
  readonly points: Point[] = [];

  constructor(number: number, role: string) {
    this.number = number;
    this.role = role;
  }
}

/** Where a call stands, built up from its events. */
export class Call {
  readonly session: string;
  readonly channels: Channel[] = [];
  /** By their start, the latest last. */
  readonly segments: Segment[] = [];
  /** When it began, as the server writes it; null where that was not heard. */
  startedAt: string | null = null;
  lastSeq = 0;
  timeS = 0;
  model: { bundle: string; profile: string } | null = null;
  labels: readonly string[] = [];
  endedBecause: string | null = null;
  lagMs = 0;
  droppedInterims = 0;
  /** What went wrong lately, as the server says it. */
  readonly problems: string[] = [];
  private readonly bounds: Bounds;

  constructor(session: string, bounds: Bounds) {
    this.session = session;
    this.bounds = bounds;
  }

  get ended(): boolean {
    return this.endedBecause !== null;
  }

  /** The highest of its channels. */
  get worry(): number {
    return Math.max(0, ...this.channels.map((channel) => channel.mood.worry));
  }

  /** Takes an event in. False for one that was heard before, as when a connection was lost. */
  apply(event: Event): boolean {
    if (event.type === "session.resumed" || event.seq <= this.lastSeq) return false;
    this.lastSeq = event.seq;
    this.timeS = Math.max(this.timeS, event.time_s);
    switch (event.type) {
      case "session.started":
        this.startedAt = event.emitted_at;
        this.model = { bundle: event.model.bundle, profile: event.model.profile };
        this.labels = event.model.labels;
        break;
      case "speech.started":
        this.channel(event.channel, event.role).speaking = true;
        this.segment(event.channel, event.segment, event.start_s);
        break;
      case "speech.ended": {
        const segment = this.segment(event.channel, event.segment, event.start_s);
        segment.endS = event.end_s;
        segment.over = true;
        this.channel(event.channel, event.role).speaking = false;
        break;
      }
      case "transcript":
        this.transcribe(event);
        break;
      case "emotion":
        this.feel(event);
        break;
      case "degraded":
        this.degrade(event);
        break;
      case "error":
        this.problems.push(event.message);
        if (this.problems.length > 20) this.problems.shift();
        break;
      case "session.ended":
        this.end(event.reason);
        break;
    }
    return true;
  }

  /** Nothing more will come. */
  end(reason: string): void {
    this.endedBecause = reason;
    for (const channel of this.channels) channel.speaking = false;
  }

  channel(number: number, role: string): Channel {
    let channel = this.channels.find((one) => one.number === number);
    if (channel === undefined) {
      channel = new Channel(number, role);
      this.channels.push(channel);
      this.channels.sort((one, other) => one.number - other.number);
    }
    channel.role = role;
    return channel;
  }

  private transcribe(event: TranscriptEvent): void {
    this.channel(event.channel, event.role);
    const segment = this.segment(event.channel, event.segment, event.time_s);
    segment.committed = event.committed;
    segment.tentative = event.tentative;
    segment.final = event.final;
    if (event.final) segment.over = true;
  }

  private feel(event: EmotionEvent): void {
    const channel = this.channel(event.channel, event.role);
    const emotion = emotionOf(event);
    channel.emotion = emotion;
    const segment = this.segment(event.channel, event.segment, event.start_s);
    segment.startS = event.start_s;
    segment.endS = event.end_s;
    segment.emotion = emotion;
    if (event.final) segment.latency = event.latency;
    if (emotion.arousal === null || emotion.valence === null) return;
    channel.mood.take(event.end_s, emotion);
    const last = channel.points.at(-1);
    const point = { timeS: event.end_s, arousal: emotion.arousal, valence: emotion.valence, worry: channel.mood.worry };
    // The final answer of a segment stands where its last interim stood.
    if (last !== undefined && point.timeS - last.timeS < 0.25) channel.points.pop();
    channel.points.push(point);
    if (channel.points.length > this.bounds.points) channel.points.shift();
  }

  private degrade(event: Degraded): void {
    this.lagMs = event.lag_ms;
    this.droppedInterims += event.dropped_interims;
  }

  private segment(channel: number, number: number, startS: number): Segment {
    const known = this.segments.findLast((one) => one.channel === channel && one.number === number);
    if (known !== undefined) return known;
    const segment: Segment = {
      channel,
      number,
      startS,
      endS: startS,
      over: false,
      committed: "",
      tentative: "",
      final: false,
      emotion: null,
      latency: null,
    };
    const behind = this.segments.findLastIndex((one) => one.startS <= startS);
    this.segments.splice(behind + 1, 0, segment);
    if (this.segments.length > this.bounds.segments) this.segments.shift();
    return segment;
  }
}

function emotionOf(event: EmotionEvent): Emotion {
  let best: string | null = null;
  for (const label of Object.keys(event.scores)) {
    if (best === null || (event.scores[label] ?? 0) > (event.scores[best] ?? 0)) best = label;
  }
  return {
    label: event.label,
    best,
    confidence: event.confidence,
    scores: event.scores,
    arousal: event.attributes?.arousal ?? null,
    valence: event.attributes?.valence ?? null,
    dominance: event.attributes?.dominance ?? null,
    final: event.final,
  };
}
