import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Call, Channel } from "../calls/call.ts";
import { theme } from "../state.ts";
import { clock, emotionText } from "./words.ts";

const HEIGHT = 170;
const LOWEST = 1;
const HIGHEST = 7;
/** Seconds that the clock of a young call shows at least. */
const SPAN_S = 30;
/** What the clock is divided by. */
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
/** A pause between two measurements of so many seconds breaks the curves. */
const PAUSE_S = 4;

interface TimelineProps {
  call: Call;
  channel: Channel;
  /** Rises when it is to be drawn anew. */
  drawn: number;
}

/** Emotion bands behind the curves of arousal and valence, on the clock of the call. The transcript says the same in words. */
export function Timeline({ call, channel, drawn }: TimelineProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const plot = new uPlot(options(call, channel, element.clientWidth), curves(channel), element);
    chart.current = plot;
    const sizes = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [call, channel, theme.value]);

  useEffect(() => chart.current?.setData(curves(channel)), [drawn]);

  const text = `${channel.role}: ${emotionText(channel.emotion)}; emotion bands with arousal and valence over ${clock(call.timeS)}`;
  return <div ref={place} class="timeline" role="img" aria-label={text} />;
}

function curves(channel: Channel): uPlot.AlignedData {
  const times: number[] = [];
  const arousal: (number | null)[] = [];
  const valence: (number | null)[] = [];
  let lastS: number | null = null;
  for (const point of channel.points) {
    if (lastS !== null && point.timeS - lastS > PAUSE_S) {
      times.push((lastS + point.timeS) / 2);
      arousal.push(null);
      valence.push(null);
    }
    times.push(point.timeS);
    arousal.push(point.arousal);
    valence.push(point.valence);
    lastS = point.timeS;
  }
  return [times, arousal, valence];
}

function options(call: Call, channel: Channel, width: number): uPlot.Options {
  const ink = colour("--ink-soft");
  const grid = { stroke: colour("--line"), width: 1 };
  const seconds = (value: number | null): string => (value === null ? "" : clock(value));
  const level = (_plot: uPlot, value: number | null): string => (value === null ? "" : value.toFixed(1));
  return {
    width,
    height: HEIGHT,
    cursor: { y: false },
    scales: {
      x: { time: false, range: () => [0, Math.max(call.timeS, SPAN_S)] },
      y: { range: [LOWEST, HIGHEST] },
    },
    axes: [
      { stroke: ink, grid, incrs: STEPS_S, values: (_plot, values) => values.map(seconds) },
      { stroke: ink, grid, size: 34, values: (_plot, values) => values.map(String) },
    ],
    series: [
      { label: "time", value: (_plot, value) => seconds(value) },
      { label: "arousal", stroke: colour("--arousal"), width: 2, value: level, points: { size: 4 } },
      { label: "valence", stroke: colour("--valence"), width: 2, dash: [6, 3], value: level, points: { size: 4 } },
    ],
    hooks: { drawClear: [(plot) => drawBands(plot, call, channel)] },
  };
}

/** One band for every segment with an emotion; those without a label are pale. */
function drawBands(plot: uPlot, call: Call, channel: Channel): void {
  const { ctx } = plot;
  const { top, height } = plot.bbox;
  const ink = colour("--ink");
  ctx.save();
  ctx.font = `${Math.round(11 * devicePixelRatio)}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  for (const segment of call.segments) {
    if (segment.channel !== channel.number || segment.emotion?.best == null) continue;
    const { label, best } = segment.emotion;
    const left = plot.valToPos(segment.startS, "x", true);
    const wide = Math.max(2, plot.valToPos(segment.endS, "x", true) - left);
    ctx.fillStyle = colour(`--emotion-${best}`) || ink;
    ctx.globalAlpha = label === null ? 0.1 : 0.3;
    ctx.fillRect(left, top, wide, height);
    ctx.globalAlpha = label === null ? 0.35 : 1;
    ctx.fillRect(left, top, wide, 4 * devicePixelRatio);
    ctx.globalAlpha = 1;
    if (label !== null && ctx.measureText(label).width + 8 < wide) {
      ctx.fillStyle = ink;
      ctx.fillText(label, left + 4, top + 7 * devicePixelRatio);
    }
  }
  ctx.restore();
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
