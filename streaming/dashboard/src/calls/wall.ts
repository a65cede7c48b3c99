// All calls that are known, and what changed since somebody looked.

import type { MEDUSALiveEventsVersion1 as Event } from "../wire/events.ts";
import type { AlertRule } from "../wire/server.ts";
import { type Alert, AlertWatch } from "./alerts.ts";
import { Call, ON_THE_WALL } from "./call.ts";

/** Calls that are over and stay on the wall. */
const ENDED_KEPT = 40;

/** Steps of worry that calls are sorted by, and how far into the next one a call has to be. */
const STEPS = 10;
const STICKS = 0.8;

export interface Filter {
  /** Words of a session's name, a role or what was said. */
  text: string;
  state: "live" | "ended" | "all";
  /** The latest emotion; null for any. */
  emotion: string | null;
  alertsOnly: boolean;
}

export const EVERYTHING: Filter = { text: "", state: "all", emotion: null, alertsOnly: false };

export class Wall {
  readonly calls = new Map<string, Call>();
  readonly watch: AlertWatch;
  private readonly changed = new Set<Call>();
  private readonly ranks = new WeakMap<Call, number>();
  private readonly heard = new Set<string>();

  constructor(rules: readonly AlertRule[]) {
    this.watch = new AlertWatch(rules);
  }

  /** Takes an event in. The alerts that begin with it. */
  apply(event: Event): Alert[] {
    this.heard.add(event.session);
    let call = this.calls.get(event.session);
    if (call === undefined || isAnother(call, event)) {
      call = new Call(event.session, ON_THE_WALL);
      this.calls.set(event.session, call);
    }
    if (!call.apply(event)) return [];
    this.changed.add(call);
    if (event.type === "session.ended") {
      this.watch.end(event.session);
      this.forgetOldest();
    }
    return event.type === "emotion" ? this.watch.take(event) : [];
  }

  /** A connection begins: what is replayed on it names every call that is live. */
  beginReplay(): void {
    this.heard.clear();
  }

  /** All of the replay has come: calls that it did not name are over, and nobody could say how. */
  endReplay(): void {
    for (const call of this.calls.values()) {
      if (!call.ended && !this.heard.has(call.session)) {
        call.end("connection lost");
        this.watch.end(call.session);
        this.changed.add(call);
      }
    }
    this.forgetOldest();
  }

  /** Somebody has seen to an alert. */
  dismiss(id: number): void {
    const alert = this.watch.alerts.find((one) => one.id === id);
    const call = alert && this.calls.get(alert.session);
    this.watch.dismiss(id);
    if (call) this.changed.add(call);
  }

  /** Up to so many calls that changed since they were last taken. */
  takeChanged(limit: number): Call[] {
    const taken: Call[] = [];
    for (const call of this.changed) {
      if (taken.length >= limit) break;
      taken.push(call);
      this.changed.delete(call);
    }
    return taken;
  }

  get hasChanges(): boolean {
    return this.changed.size > 0;
  }

  /** Those of a filter, worst first: live calls by their worry, then those that are over, the latest first. */
  sorted(filter: Filter): Call[] {
    const wanted = [...this.calls.values()].filter((call) => this.passes(call, filter));
    const places = new Map([...this.calls.keys()].map((session, place) => [session, place]));
    const place = (call: Call): number => places.get(call.session) ?? 0;
    return wanted.sort((one, other) => {
      if (one.ended !== other.ended) return one.ended ? 1 : -1;
      if (one.ended) return place(other) - place(one);
      return this.rank(other) - this.rank(one) || place(one) - place(other);
    });
  }

  /** Worry in steps, from which a call departs only when it has clearly left: so the wall is calm. */
  private rank(call: Call): number {
    const exact = call.worry * STEPS;
    const last = this.ranks.get(call) ?? Math.round(exact);
    const rank = Math.abs(exact - last) > STICKS ? Math.round(exact) : last;
    this.ranks.set(call, rank);
    return rank;
  }

  private passes(call: Call, filter: Filter): boolean {
    if (filter.state === "live" && call.ended) return false;
    if (filter.state === "ended" && !call.ended) return false;
    if (filter.emotion !== null && !call.channels.some((channel) => channel.emotion?.label === filter.emotion)) return false;
    if (filter.alertsOnly && !this.watch.alerts.some((alert) => alert.session === call.session)) return false;
    const text = filter.text.trim().toLowerCase();
    return (
      text === "" ||
      call.session.toLowerCase().includes(text) ||
      call.channels.some((channel) => channel.role.toLowerCase().includes(text)) ||
      call.segments.some((segment) => `${segment.committed} ${segment.tentative}`.toLowerCase().includes(text))
    );
  }

  private forgetOldest(): void {
    const ended = [...this.calls.values()].filter((call) => call.ended);
    for (const call of ended.slice(0, Math.max(0, ended.length - ENDED_KEPT))) {
      this.calls.delete(call.session);
      this.changed.delete(call);
    }
  }
}

/** Whether an event begins another session of the same name, as peers that name theirs may have. */
function isAnother(call: Call, event: Event): boolean {
  return event.type === "session.started" && call.startedAt !== null && call.startedAt !== event.emitted_at;
}
