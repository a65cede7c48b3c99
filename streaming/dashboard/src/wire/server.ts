// What the server says of itself, and the token it is shown.

export interface AlertRule {
  /** As it is written in config.toml. */
  rule: string;
  /** A class, or arousal, valence or dominance. */
  measure: string;
  side: "above" | "below";
  threshold: number;
  for_s: number;
}

export interface ServerFacts {
  alerts: AlertRule[];
  transcripts: "full" | "masked" | "off";
  idle_timeout_s: number;
}

/** The server asks for a token, or for another one. */
export class TokenNeeded extends Error {}

const KEY = "medusa-token";

export function rememberedToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function rememberToken(token: string | null): void {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

/**
 * Asks what the page has to know.
 *
 * @throws TokenNeeded with the server's reason.
 * @throws Error where the server cannot be reached, or answers something else.
 */
export async function askServer(token: string | null): Promise<ServerFacts> {
  const headers: HeadersInit = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch("/v1/dashboard", { headers });
  if (answer.status === 401 || answer.status === 429) throw new TokenNeeded((await answer.text()).trim());
  if (!answer.ok) throw new Error(`the server answers ${answer.status}: ${(await answer.text()).trim().slice(0, 200)}`);
  return (await answer.json()) as ServerFacts;
}
