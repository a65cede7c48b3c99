import type { Point } from "../calls/call.ts";

const WIDTH = 100;
const HEIGHT = 24;
/** Seconds of the call that are drawn at least. */
const SPAN_S = 60;

/** Worry over the latest part of a call; a picture beside figures that say the same. */
export function Sparkline({ points, timeS }: { points: readonly Point[]; timeS: number }) {
  const fromS = Math.min(points[0]?.timeS ?? 0, timeS - SPAN_S);
  const spanS = Math.max(timeS - fromS, 1);
  const line = points
    .map((point) => {
      const x = ((point.timeS - fromS) / spanS) * WIDTH;
      return `${x.toFixed(1)},${(HEIGHT - 1 - point.worry * (HEIGHT - 2)).toFixed(1)}`;
    })
    .join(" ");
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <line x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} />
      <polyline points={line} />
    </svg>
  );
}
