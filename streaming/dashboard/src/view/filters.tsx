import type { Filter } from "../calls/wall.ts";
import { dashboard } from "../dashboard.ts";
import { counts, emotions, filter, order, paused, withheld } from "../state.ts";

function change(part: Partial<Filter>): void {
  filter.value = { ...filter.value, ...part };
}

/** What the wall shows of all that is known. */
export function Filters() {
  const { text, state, emotion, alertsOnly } = filter.value;
  return (
    <search class="filters">
      <label>
        <span class="unseen">Search calls, roles and words</span>
        <input
          id="search"
          type="search"
          placeholder="Search calls, roles, words"
          value={text}
          onInput={(event) => change({ text: event.currentTarget.value })}
        />
      </label>
      <label>
        Calls{" "}
        <select value={state} onChange={(event) => change({ state: event.currentTarget.value as Filter["state"] })}>
          <option value="live">live ({counts.value.live})</option>
          <option value="ended">over ({counts.value.ended})</option>
          <option value="all">all ({counts.value.live + counts.value.ended})</option>
        </select>
      </label>
      <label>
        Emotion{" "}
        <select value={emotion ?? ""} onChange={(event) => change({ emotion: event.currentTarget.value || null })}>
          <option value="">any</option>
          {emotions.value.map((label) => (
            <option key={label} value={label}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <label>
        <input type="checkbox" checked={alertsOnly} onChange={(event) => change({ alertsOnly: event.currentTarget.checked })} />{" "}
        with alerts
      </label>
      <button type="button" aria-pressed={paused.value} onClick={() => dashboard.pause(!paused.value)}>
        {paused.value ? "Go on" : "Pause"}
      </button>
      <span class="shown" role="status">
        {paused.value ? `paused, ${withheld.value} events since` : `${order.value.length} shown`}
      </span>
    </search>
  );
}
