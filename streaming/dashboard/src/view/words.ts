// Figures and states as people read them.

import type { Call, Channel, Emotion } from "../calls/call.ts";

/** Seconds of a call as 2:05, or 1:02:05. */
export function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  const text = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return hours > 0 ? `${hours}:${text}` : text.replace(/^0/, "");
}

export function percent(probability: number): string {
  return `${Math.round(100 * probability)} %`;
}

/** Names of random letters are told apart by their first ones. */
export function shortName(session: string): string {
  return session.length > 12 ? `${session.slice(0, 8)}…` : session;
}

export function emotionText(emotion: Emotion | null): string {
  if (emotion === null) return "no emotion yet";
  if (emotion.label !== null) return `${emotion.label} ${percent(emotion.confidence)}`;
  return emotion.best === null ? "nothing said" : `not sure, perhaps ${emotion.best} ${percent(emotion.confidence)}`;
}

/** The voice that fares worst, of those that are scored. */
export function worstVoice(call: Call): Channel | undefined {
  return call.channels
    .filter((channel) => channel.emotion !== null)
    .sort((one, other) => other.mood.worry - one.mood.worry)[0];
}
