import type { Call, Segment } from "../calls/call.ts";
import { Chip } from "./chip.tsx";
import { clock } from "./words.ts";

/** Segments that are shown at once: the latest. */
const SHOWN = 400;

/** What was said, the latest first; words that may still change are grey. */
export function Transcript({ call }: { call: Call }) {
  const roles = new Map(call.channels.map((channel) => [channel.number, channel.role]));
  const latest = call.segments.slice(-SHOWN).reverse();
  return (
    <section class="transcript" aria-label="Transcript">
      <h2>What was said</h2>
      {call.segments.length > SHOWN && <p>The latest {SHOWN} of {call.segments.length} segments.</p>}
      <ol reversed>
        {latest.map((segment) => (
          <Said key={`${segment.channel}/${segment.number}`} segment={segment} role={roles.get(segment.channel) ?? ""} />
        ))}
      </ol>
    </section>
  );
}

function Said({ segment, role }: { segment: Segment; role: string }) {
  const { latency } = segment;
  return (
    <li class="said" data-emotion={segment.emotion?.label ?? undefined} data-channel={segment.channel}>
      <span class="when">
        <time>{clock(segment.startS)}</time> <span class="role">{role}</span>
      </span>
      <span class="text">
        {segment.committed} {segment.tentative !== "" && <i>{segment.tentative}</i>}
        {segment.committed === "" && segment.tentative === "" && <i>{segment.final ? "no words" : "…"}</i>}
      </span>
      {segment.emotion !== null && <Chip emotion={segment.emotion} />}
      {latency !== null && (
        <span class="latency" title={`${Math.round(latency.endpoint_ms)} ms of it are the silence that was waited for`}>
          after {(latency.total_ms / 1000).toFixed(2)} s
        </span>
      )}
    </li>
  );
}
