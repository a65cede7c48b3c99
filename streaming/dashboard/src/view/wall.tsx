import { useLayoutEffect, useRef } from "preact/hooks";
import type { Call } from "../calls/call.ts";
import { dashboard } from "../dashboard.ts";
import { Alerts } from "./alerts.tsx";
import { Chip } from "./chip.tsx";
import { Filters } from "./filters.tsx";
import { Sparkline } from "./sparkline.tsx";
import { counts, feed, order, version } from "../state.ts";
import { clock, percent, shortName, worstVoice } from "./words.ts";

/** All calls, worst first. */
export function WallView() {
  return (
    <>
      <h1 class="unseen">Calls, worst first</h1>
      <Alerts />
      <Filters />
      <Cards />
    </>
  );
}

function Cards() {
  const list = useRef<HTMLUListElement>(null);
  const focused = document.activeElement;
  useLayoutEffect(() => {
    // A card that moves takes the keyboard's focus with it.
    if (focused instanceof HTMLElement && list.current?.contains(focused)) focused.focus({ preventScroll: true });
  });
  if (order.value.length === 0) return <Nothing />;
  return (
    <ul
      ref={list}
      class="wall"
      aria-label="Calls, worst first"
      onPointerMove={() => dashboard.touch()}
      onKeyDown={(event) => walk(event, list.current)}
    >
      {order.value.map((call) => (
        <Card key={call.session} call={call} />
      ))}
    </ul>
  );
}

function Nothing() {
  const hidden = counts.value.live + counts.value.ended;
  if (feed.value.state !== "live") return <p class="nothing">Waiting for the server.</p>;
  if (hidden > 0) return <p class="nothing">None of {hidden} calls passes the filter.</p>;
  return (
    <p class="nothing">
      No calls yet. Send one with <code>medusa stream call.wav</code>, or <a href="#/try">try your own voice</a>.
    </p>
  );
}

function Card({ call }: { call: Call }) {
  void version(call).value;
  const raised = dashboard.holding(call.session);
  const voice = worstVoice(call);
  const latest = call.segments.at(-1);
  return (
    <li class="card" data-ended={call.ended} data-alert={raised > 0}>
      <a href={`#/call/${call.session}`}>
        <span class="head">
          <span class="session">
            <span class="unseen">Call </span>
            {shortName(call.session)}
          </span>
          {raised > 0 && <span class="badge">alert</span>}
          <span class="clock">{call.ended ? "over" : clock(call.timeS)}</span>
        </span>
        <span class="voices">
          {call.channels.map((channel) => (
            <span key={channel.number} class="voice" data-speaking={channel.speaking}>
              <span class="role">
                {channel.role}
                {channel.speaking && <span class="unseen"> speaking</span>}
              </span>
              {channel.emotion === null && channel.role === "agent" ? (
                <span class="chip none">not scored</span>
              ) : (
                <Chip emotion={channel.emotion} />
              )}
            </span>
          ))}
        </span>
        <Sparkline points={voice?.points ?? []} timeS={call.timeS} />
        <span class="worry">
          worry {percent(call.worry)}
          {voice && voice.mood.direction !== "steady" && ` · ${voice.mood.direction}`}
        </span>
        <span class="words">
          {latest?.committed} <i>{latest?.tentative}</i>
        </span>
      </a>
    </li>
  );
}

const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Arrow keys move between cards as they lie. */
function walk(event: KeyboardEvent, list: HTMLUListElement | null): void {
  dashboard.touch();
  const step = STEPS[event.key];
  if (step === undefined || list === null) return;
  const cards = [...list.querySelectorAll<HTMLAnchorElement>("li > a")];
  const at = cards.findIndex((card) => card === document.activeElement);
  const top = cards[0]?.getBoundingClientRect().top ?? 0;
  const columns = Math.max(1, cards.findIndex((card) => card.getBoundingClientRect().top > top + 1));
  const to = cards[at < 0 ? 0 : at + step[0] + step[1] * columns];
  if (to !== undefined) {
    event.preventDefault();
    to.focus();
  }
}
