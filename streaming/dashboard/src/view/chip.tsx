import type { Emotion } from "../calls/call.ts";
import { percent } from "./words.ts";

/** An emotion as a dot of its colour with its name: never by colour alone. */
export function Chip({ emotion }: { emotion: Emotion | null }) {
  if (emotion === null) return <span class="chip none">no emotion</span>;
  if (emotion.label !== null) {
    return (
      <span class="chip" data-emotion={emotion.label}>
        {emotion.label} <b>{percent(emotion.confidence)}</b>
      </span>
    );
  }
  if (emotion.best === null) return <span class="chip none">nothing said</span>;
  return (
    <span class="chip unsure" data-emotion={emotion.best}>
      not sure <small>{emotion.best} {percent(emotion.confidence)}</small>
    </span>
  );
}
