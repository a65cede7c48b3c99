// What the page shows, as signals; who changes them is `Dashboard`.

import { computed, signal, type Signal } from "@preact/signals";
import type { Alert } from "./calls/alerts.ts";
import type { Call } from "./calls/call.ts";
import { EVERYTHING, type Filter } from "./calls/wall.ts";
import type { FeedState } from "./wire/feed.ts";
import type { ServerFacts } from "./wire/server.ts";

export type Theme = "light" | "dark";

const THEME_KEY = "medusa-theme";
const SHORTCUTS_KEY = "medusa-shortcuts";

export const facts = signal<ServerFacts | null>(null);
/** Why a token is asked for; null where none is. */
export const login = signal<string | null>(null);
/** Why the server cannot be spoken to at all. */
export const fault = signal<string | null>(null);
export const feed = signal<{ state: FeedState; why: string }>({ state: "connecting", why: "" });
export const paused = signal(false);
/** Events that came while the page is paused. */
export const withheld = signal(0);
export const filter = signal<Filter>({ ...EVERYTHING, state: "live" });
/** The calls that are shown, in order. */
export const order = signal<readonly Call[]>([]);
export const counts = signal({ live: 0, ended: 0 });
export const alerts = signal<readonly Alert[]>([]);
export const emotions = signal<readonly string[]>([]);
export const helpShown = signal(false);
export const theme = signal<Theme>(initialTheme());
export const shortcuts = signal(localStorage.getItem(SHORTCUTS_KEY) !== "off");
export const route = signal(location.hash);

/** The session whose call is opened; null for the wall. */
export const opened = computed(() => {
  const written = /^#\/call\/([A-Za-z0-9_-]{1,64})$/.exec(route.value);
  return written?.[1] ?? null;
});
export const trying = computed(() => route.value === "#/try");

const versions = new WeakMap<Call, Signal<number>>();

/** Rises when the card of a call is to be drawn anew; a component that reads it is. */
export function version(call: Call): Signal<number> {
  let known = versions.get(call);
  if (known === undefined) {
    known = signal(0);
    versions.set(call, known);
  }
  return known;
}

export function setTheme(value: Theme): void {
  theme.value = value;
  localStorage.setItem(THEME_KEY, value);
  document.documentElement.dataset["theme"] = value;
}

export function setShortcuts(on: boolean): void {
  shortcuts.value = on;
  localStorage.setItem(SHORTCUTS_KEY, on ? "on" : "off");
}

function initialTheme(): Theme {
  const kept = localStorage.getItem(THEME_KEY);
  const theme =
    kept === "light" || kept === "dark" ? kept : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset["theme"] = theme;
  return theme;
}
