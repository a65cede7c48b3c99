import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Call, type Channel, OPENED } from "../calls/call.ts";
import { dashboard } from "../dashboard.ts";
import { Feed, type FeedState } from "../wire/feed.ts";
import { rememberedToken } from "../wire/server.ts";
import { Chip } from "./chip.tsx";
import { paused } from "../state.ts";
import { Timeline } from "./timeline.tsx";
import { Transcript } from "./transcript.tsx";
import { clock, percent, shortName } from "./words.ts";

/** Milliseconds between two drawings. */
const DRAW_EVERY_MS = 250;

/** One call with its whole history: it has a connection of its own, and reads on behind the last event it has. */
export function CallView({ session }: { session: string }) {
  const call = useMemo(() => new Call(session, OPENED), [session]);
  const drawn = useSignal(0);
  const feed = useSignal<{ state: FeedState; why: string }>({ state: "connecting", why: "" });

  useEffect(() => {
    let changed = false;
    const connection = new Feed({
      token: rememberedToken(),
      query: () => ({ session, after: call.lastSeq }),
      onEvent: (event) => {
        changed = call.apply(event) || changed;
      },
      onState: (state, why) => {
        feed.value = { state, why };
        changed = true;
      },
    });
    const drawing = setInterval(() => {
      if (changed && !paused.value) {
        changed = false;
        drawn.value += 1;
      }
    }, DRAW_EVERY_MS);
    return () => {
      clearInterval(drawing);
      connection.close();
    };
  }, [session]);

  return <Opened call={call} drawn={drawn.value} feed={feed.value} />;
}

interface OpenedProps {
  call: Call;
  drawn: number;
  feed: { state: FeedState; why: string };
}

function Opened({ call, drawn, feed }: OpenedProps) {
  return (
    <article class="call" aria-label={`Call ${call.session}`}>
      <header class="callhead">
        <a href="#/">All calls</a>
        <h1>
          Call <span title={call.session}>{shortName(call.session)}</span>
        </h1>
        <span class="state">{stateOf(call, feed.state)}</span>
        <span class="clock">{clock(call.timeS)}</span>
        <button type="button" aria-pressed={paused.value} onClick={() => dashboard.pause(!paused.value)}>
          {paused.value ? "Go on" : "Pause"}
        </button>
      </header>
      {feed.state === "refused" && <p class="error" role="alert">{feed.why}</p>}
      {call.problems.slice(-3).map((problem, index) => (
        <p key={index} class="error">{problem}</p>
      ))}
      <Figures call={call} />
      {call.channels.map((channel) => (
        <section key={channel.number} class="channel" aria-label={`Channel ${channel.number}, ${channel.role}`}>
          <h2>
            {channel.role} <small>channel {channel.number}</small> {channel.emotion !== null && <Chip emotion={channel.emotion} />}
          </h2>
          {isScored(call, channel) ? (
            <Timeline call={call} channel={channel} drawn={drawn} />
          ) : (
            <p class="nothing">{unscored(channel)}</p>
          )}
        </section>
      ))}
      <Transcript call={call} />
    </article>
  );
}

function stateOf(call: Call, state: FeedState): string {
  if (call.endedBecause !== null) return `over: ${call.endedBecause.replaceAll("_", " ")}`;
  return state === "live" ? "live" : state === "refused" ? "not held any more" : "connecting";
}

function isScored(call: Call, channel: Channel): boolean {
  return channel.points.length > 0 || call.segments.some((one) => one.channel === channel.number && one.emotion !== null);
}

function unscored(channel: Channel): string {
  if (channel.role === "agent") return "Agents are transcribed; their emotions are not inferred ([roles] score_agents).";
  return channel.speaking ? "Listening." : "Nothing was scored yet.";
}

/** How the call goes, and how late its answers are. */
function Figures({ call }: { call: Call }) {
  const late = call.segments.flatMap((segment) => (segment.latency === null ? [] : [segment.latency]));
  const total = median(late.map((latency) => latency.total_ms));
  const silence = median(late.map((latency) => latency.endpoint_ms));
  return (
    <dl class="figures">
      <div>
        <dt>Worry</dt>
        <dd>{percent(call.worry)}</dd>
      </div>
      <div>
        <dt>Answer after speech</dt>
        <dd>{total === null ? "none yet" : `${(total / 1000).toFixed(2)} s`}</dd>
      </div>
      <div>
        <dt>of it, waiting for silence</dt>
        <dd>{silence === null ? "none yet" : `${(silence / 1000).toFixed(2)} s`}</dd>
      </div>
      <div>
        <dt>Lag</dt>
        <dd>{Math.round(call.lagMs)} ms</dd>
      </div>
      <div>
        <dt>Interims left out</dt>
        <dd>{call.droppedInterims}</dd>
      </div>
      <div>
        <dt>Ensemble</dt>
        <dd>{call.model === null ? "not said" : call.model.bundle}</dd>
      </div>
    </dl>
  );
}

function median(values: number[]): number | null {
  const sorted = values.sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}
