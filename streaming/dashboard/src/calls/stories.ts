// Events as a server would send them, for tests.

import type { EmotionEvent, MEDUSALiveEventsVersion1 as Event, TranscriptEvent } from "../wire/events.ts";

/** Numbers the events of one session. */
export class Story {
  private seq = 0;
  readonly session: string;

  constructor(session = "s1") {
    this.session = session;
  }

  started(): Event {
    return {
      ...this.next(0),
      type: "session.started",
      channel: null,
      role: null,
      audio: { encoding: "mulaw", rate_hz: 8000, channels: 2 },
      model: { bundle: "base", sha256: "0".repeat(64), profile: "base", labels: ["angry", "neutral"] },
      limits: { max_message_bytes: 1024, max_segment_s: 15, idle_timeout_s: 60, replay_events: 10 },
      resume: null,
    };
  }

  speaks(segment: number, startS: number, channel = 0): Event {
    return { ...this.next(startS), ...voice(channel), type: "speech.started", segment, start_s: startS };
  }

  stops(segment: number, startS: number, endS: number, channel = 0): Event {
    return {
      ...this.next(endS),
      ...voice(channel),
      type: "speech.ended",
      segment,
      start_s: startS,
      end_s: endS,
      reason: "silence",
    };
  }

  says(segment: number, committed: string, tentative = "", channel = 0): TranscriptEvent {
    return {
      ...this.next(0),
      ...voice(channel),
      type: "transcript",
      segment,
      final: tentative === "",
      committed,
      tentative,
      language: "en",
      words: [],
    };
  }

  sounds(segment: number, startS: number, endS: number, angry: number, channel = 0): EmotionEvent {
    return {
      ...this.next(endS),
      ...voice(channel),
      type: "emotion",
      segment,
      start_s: startS,
      end_s: endS,
      final: true,
      label: angry > 0.5 ? "angry" : null,
      abstained: angry <= 0.5,
      confidence: Math.max(angry, 1 - angry),
      scores: { angry, neutral: 1 - angry },
      attributes: { arousal: 1 + 6 * angry, valence: 7 - 6 * angry, dominance: 4 },
      text: "",
      latency: {
        endpoint_ms: 600,
        queue_ms: 1,
        compute_ms: 100,
        total_ms: 650,
        request_ms: 0,
        encode_ms: 0,
        decode_ms: 0,
        emotion_ms: 0,
        emit_ms: 0,
      },
    };
  }

  ended(): Event {
    return {
      ...this.next(60),
      type: "session.ended",
      channel: null,
      role: null,
      reason: "client_close",
      totals: { audio_s: 60, speech_s: 30, segments: 1, finals: 1, interims: 0 },
    };
  }

  private next(timeS: number) {
    this.seq += 1;
    return {
      version: 1 as const,
      session: this.session,
      seq: this.seq,
      time_s: timeS,
      emitted_at: "2026-01-02T03:04:05.000Z",
    };
  }
}

function voice(channel: number) {
  return { channel, role: channel === 0 ? "customer" : "agent" };
}
