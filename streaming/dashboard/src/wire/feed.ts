// Events from `/v1/events`, over as many connections as it takes.

import type { MEDUSALiveEventsVersion1 as Event } from "./events.ts";

export type FeedState = "connecting" | "live" | "lost" | "refused" | "ended";

export interface Query {
  session: string;
  /** Replay what is held behind this `seq`. */
  after?: number;
  /** Replay what is held of so many seconds. */
  last_s?: number;
}

export interface FeedOptions {
  /** What is asked for on the next connection; told how long ago the last event came, null at first. */
  query: (silentForS: number | null) => Query;
  token: string | null;
  onEvent: (event: Event) => void;
  onState: (state: FeedState, why: string) => void;
  /** A new connection is there; what it replays follows. */
  onOpen?: () => void;
}

const DONE = 1000;
const REFUSED = 1008;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;
/** Behind proxies that cut silent connections; it also shows that the other end is gone. */
const KEEPALIVE_MS = 20_000;

export class Feed {
  private readonly options: FeedOptions;
  private socket: WebSocket | null = null;
  private retryMs = FIRST_RETRY_MS;
  private heardAt: number | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private keepalive: ReturnType<typeof setInterval> | undefined;
  private closed = false;

  constructor(options: FeedOptions) {
    this.options = options;
    addEventListener("online", this.again);
    addEventListener("offline", this.drop);
    this.connect();
  }

  close(): void {
    this.closed = true;
    removeEventListener("online", this.again);
    removeEventListener("offline", this.drop);
    this.leave();
  }

  private readonly again = (): void => {
    if (this.socket === null && !this.closed) {
      clearTimeout(this.retry);
      this.connect();
    }
  };

  private readonly drop = (): void => {
    if (this.socket !== null) {
      this.leave();
      this.options.onState("lost", "this device is offline");
    }
  };

  private leave(): void {
    clearTimeout(this.retry);
    clearInterval(this.keepalive);
    const socket = this.socket;
    this.socket = null;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private connect(): void {
    this.options.onState("connecting", "");
    const silentForS = this.heardAt === null ? null : (performance.now() - this.heardAt) / 1000;
    const socket = new WebSocket(address("/v1/events", { ...this.options.query(silentForS) }, this.options.token));
    this.socket = socket;
    socket.onopen = () => {
      this.retryMs = FIRST_RETRY_MS;
      this.heardAt = performance.now();
      this.options.onOpen?.();
      this.options.onState("live", "");
      this.keepalive = setInterval(() => socket.send('{"type": "keepalive"}'), KEEPALIVE_MS);
    };
    socket.onmessage = (message) => {
      this.heardAt = performance.now();
      this.options.onEvent(JSON.parse(message.data as string) as Event);
    };
    socket.onclose = ({ code, reason }) => {
      clearInterval(this.keepalive);
      this.socket = null;
      if (this.closed) return;
      if (code === REFUSED || code === DONE) {
        this.options.onState(code === DONE ? "ended" : "refused", reason);
        return;
      }
      this.options.onState("lost", reason);
      this.retry = setTimeout(() => this.connect(), this.retryMs * (0.75 + Math.random() / 2));
      this.retryMs = Math.min(2 * this.retryMs, LAST_RETRY_MS);
    };
  }
}

/** Where a WebSocket of this server is. Browsers cannot send headers with one, so a token travels in the query. */
export function address(path: string, query: Record<string, string | number>, token: string | null): string {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  if (token !== null) url.searchParams.set("token", token);
  return url.href;
}
