// Keeps the page and the server together: events into the wall, and what changed onto the page, a little at a time.

import { batch } from "@preact/signals";
import { Wall } from "./calls/wall.ts";
import type { Call } from "./calls/call.ts";
import { Feed } from "./wire/feed.ts";
import { askServer, rememberedToken, rememberToken, TokenNeeded } from "./wire/server.ts";
import * as state from "./state.ts";

/** Seconds of events that a page which has just been opened asks for. */
const AT_FIRST_S = 120;
/** On top of the time without a connection, for what was on its way. */
const MARGIN_S = 5;
const LONGEST_GAP_S = 3600;
/** Replays are over by then, on any connection that a wall of calls could be watched over. */
const REPLAY_MS = 4000;
/** Cards drawn in one frame: so no frame takes long, however many calls change. */
const CARDS_PER_FRAME = 12;
const ORDER_EVERY_MS = 1500;
/** New cards in one go, and how soon more follow. */
const NEW_CARDS = 16;
const MORE_CARDS_MS = 60;
/** Cards stay where they are for so long after somebody last moved over them. */
const HOLD_ORDER_MS = 3000;
const RETRY_MS = 3000;
const NOT_AUTHORISED = "not_authorised";

export class Dashboard {
  private wall = new Wall([]);
  private feed: Feed | null = null;
  private touchedAt = -HOLD_ORDER_MS;
  private frame = 0;
  private alertsShown = 0;

  /** Asks the server who it is, then listens; asks the user for a token where that is needed. */
  async start(): Promise<void> {
    try {
      state.facts.value = await askServer(rememberedToken());
    } catch (error) {
      if (error instanceof TokenNeeded) {
        state.login.value = rememberedToken() === null ? "" : error.message;
        rememberToken(null);
      } else {
        state.fault.value = error instanceof Error ? error.message : String(error);
        setTimeout(() => void this.start(), RETRY_MS);
      }
      return;
    }
    state.fault.value = null;
    state.login.value = null;
    this.wall = new Wall(state.facts.value.alerts);
    this.alertsShown = 0;
    state.alerts.value = [];
    this.listen();
  }

  /** Tries a token that somebody typed. */
  async logIn(token: string): Promise<void> {
    rememberToken(token);
    await this.start();
  }

  /** Draws what changes, for as long as the page is open. */
  run(): void {
    const draw = (): void => {
      this.frame += 1;
      if (this.frame % 2 === 0 && !state.paused.value && this.wall.hasChanges) {
        batch(() => {
          for (const call of this.wall.takeChanged(CARDS_PER_FRAME)) state.version(call).value += 1;
        });
      }
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
    setInterval(() => this.reorder(), ORDER_EVERY_MS);
    state.filter.subscribe(() => this.reorder(true));
  }

  /** Somebody is about to use the wall: cards keep their places for a moment. */
  touch(): void {
    this.touchedAt = performance.now();
  }

  /** Shows, or stops showing, what comes. */
  pause(on: boolean): void {
    state.paused.value = on;
    state.withheld.value = 0;
    if (!on) this.reorder(true);
  }

  dismiss(id: number): void {
    this.wall.dismiss(id);
    this.showAlerts();
  }

  /** Alerts of a call that hold. */
  holding(session: string): number {
    return this.wall.watch.holding(session);
  }

  private listen(): void {
    this.feed?.close();
    const wall = this.wall;
    this.feed = new Feed({
      token: rememberedToken(),
      query: (silentForS) => ({
        session: "*",
        last_s: silentForS === null ? AT_FIRST_S : Math.min(Math.ceil(silentForS) + MARGIN_S, LONGEST_GAP_S),
      }),
      onOpen: () => {
        wall.beginReplay();
        setTimeout(() => state.feed.value.state === "live" && wall.endReplay(), REPLAY_MS);
      },
      onEvent: (event) => {
        if (wall.apply(event).length > 0) this.showAlerts();
        if (state.paused.value) state.withheld.value += 1;
      },
      onState: (now, why) => {
        state.feed.value = { state: now, why };
        // A token that is refused for events is asked for anew; what else is refused, the state says.
        if (now === "refused" && why.startsWith(NOT_AUTHORISED)) {
          rememberToken(null);
          state.login.value = why;
        }
      },
    });
  }

  private reorder(atOnce = false): void {
    if (state.paused.value) return;
    const calls = [...this.wall.calls.values()];
    const live = calls.filter((call) => !call.ended).length;
    const sorted = this.wall.sorted(state.filter.value);
    const held = !atOnce && performance.now() - this.touchedAt < HOLD_ORDER_MS;
    batch(() => {
      if (state.counts.value.live !== live || state.counts.value.ended !== calls.length - live) {
        state.counts.value = { live, ended: calls.length - live };
      }
      const labels = [...new Set(calls.flatMap((call) => call.labels))].sort();
      if (labels.join() !== state.emotions.value.join()) state.emotions.value = labels;
      if (!held) this.show(sorted);
      this.showAlerts();
    });
  }

  private show(sorted: readonly Call[]): void {
    const shown = sorted.slice(0, state.order.value.length + NEW_CARDS);
    if (!same(shown, state.order.value)) state.order.value = shown;
    if (shown.length < sorted.length) setTimeout(() => this.reorder(true), MORE_CARDS_MS);
  }

  private showAlerts(): void {
    const { alerts, revision } = this.wall.watch;
    if (revision === this.alertsShown) return;
    this.alertsShown = revision;
    state.alerts.value = [...alerts];
  }
}

function same(one: readonly Call[], other: readonly Call[]): boolean {
  return one.length === other.length && one.every((call, index) => call === other[index]);
}

export const dashboard = new Dashboard();
