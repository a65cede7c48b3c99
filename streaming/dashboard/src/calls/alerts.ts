// Alerts by the rules of config.toml: a measure of a voice beyond a threshold for so long, on the clock of its call.

import type { EmotionEvent } from "../wire/events.ts";
import type { AlertRule } from "../wire/server.ts";

export interface Alert {
  /** Of this page. */
  id: number;
  session: string;
  channel: number;
  role: string;
  rule: AlertRule;
  /** On the clock of the call. */
  sinceS: number;
  untilS: number;
  /** Whether it still holds. */
  holds: boolean;
}

interface Watch {
  sinceS: number;
  alert: Alert | null;
}

/** Alerts that are kept, those that no longer hold first to go. */
const KEPT = 200;

/** Watches all calls. */
export class AlertWatch {
  readonly rules: readonly AlertRule[];
  /** The latest first. */
  readonly alerts: Alert[] = [];
  /** Rises whenever an alert begins, ends or is dismissed. */
  revision = 0;
  private readonly watches = new Map<string, Watch>();
  private nextId = 1;

  constructor(rules: readonly AlertRule[]) {
    this.rules = rules;
  }

  /** Looks at one emotion. The alerts that begin with it. */
  take(event: EmotionEvent): Alert[] {
    const begun: Alert[] = [];
    this.rules.forEach((rule, index) => {
      const key = `${event.session}/${event.channel}/${index}`;
      const value = measured(event, rule.measure);
      if (value === null) return; // nothing was said: nothing is known
      if (rule.side === "above" ? value < rule.threshold : value > rule.threshold) {
        this.release(key);
        return;
      }
      const watch = this.watches.get(key) ?? { sinceS: event.start_s, alert: null };
      this.watches.set(key, watch);
      if (watch.alert !== null) {
        watch.alert.untilS = event.end_s;
      } else if (event.end_s - watch.sinceS >= rule.for_s) {
        watch.alert = this.raise(event, rule, watch.sinceS);
        begun.push(watch.alert);
      }
    });
    return begun;
  }

  /** Alerts of a call that hold. */
  holding(session: string): number {
    return this.alerts.filter((alert) => alert.holds && alert.session === session).length;
  }

  /** A call is over: nothing holds there any more. */
  end(session: string): void {
    for (const key of this.watches.keys()) if (key.startsWith(`${session}/`)) this.release(key);
  }

  /** Somebody has seen to it. */
  dismiss(id: number): void {
    const index = this.alerts.findIndex((alert) => alert.id === id);
    if (index >= 0) this.alerts.splice(index, 1);
    this.revision += 1;
  }

  private release(key: string): void {
    const watch = this.watches.get(key);
    if (watch?.alert) {
      watch.alert.holds = false;
      this.revision += 1;
    }
    this.watches.delete(key);
  }

  private raise(event: EmotionEvent, rule: AlertRule, sinceS: number): Alert {
    const alert: Alert = {
      id: this.nextId++,
      session: event.session,
      channel: event.channel,
      role: event.role,
      rule,
      sinceS,
      untilS: event.end_s,
      holds: true,
    };
    this.alerts.unshift(alert);
    this.revision += 1;
    if (this.alerts.length > KEPT) {
      const over = this.alerts.findLastIndex((one) => !one.holds);
      this.alerts.splice(over < 0 ? KEPT : over, 1);
    }
    return alert;
  }
}

function measured(event: EmotionEvent, measure: string): number | null {
  if (event.attributes === null) return null;
  if (measure === "arousal" || measure === "valence" || measure === "dominance") return event.attributes[measure];
  return event.scores[measure] ?? null;
}
