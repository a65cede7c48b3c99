// The browser's microphone into `/v1/listen`, as any client would send it.

import type { MEDUSALiveEventsVersion1 as Event } from "../wire/events.ts";
import { address } from "../wire/feed.ts";
import workletUrl from "./capture.worklet.ts?worker&url";

export interface MicrophoneOptions {
  /** ISO 639 code; empty to detect it. */
  language: string;
  token: string | null;
  /** The session has begun, under this name. */
  onSession: (session: string) => void;
  /** Loudness of the last piece, 0 to 1. */
  onLevel: (level: number) => void;
  /** It is over; with the reason where it did not end as it should. */
  onEnd: (why: string | null) => void;
}

const DONE = 1000;
/** What browsers do to voices for the ears of others takes away from how they sound. */
const AS_IT_IS: MediaTrackConstraints = {
  channelCount: 1,
  autoGainControl: false,
  echoCancellation: false,
  noiseSuppression: false,
};
/** Audio that the server has not taken yet: half a minute of 48 kHz. */
const MOST_WAITING_BYTES = 6_000_000;

/** Speaks to the server until it is stopped. */
export class Microphone {
  private readonly options: MicrophoneOptions;
  private context: AudioContext | null = null;
  private stream: MediaStream | null = null;
  private socket: WebSocket | null = null;
  private over = false;

  constructor(options: MicrophoneOptions) {
    this.options = options;
  }

  /** Asks for the microphone and begins. What goes wrong is told to `onEnd`. */
  async start(): Promise<void> {
    try {
      if (!navigator.mediaDevices) throw new Error("browsers lend the microphone to https pages and localhost alone");
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule(workletUrl);
      if (this.over) return this.release();
      this.connect(this.context, this.stream);
    } catch (error) {
      this.finish(error instanceof Error ? error.message : String(error));
    }
  }

  /** Says that nothing follows; the last answers still come. */
  stop(): void {
    this.release();
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send('{"type": "close"}');
    else this.finish(null);
  }

  private connect(context: AudioContext, stream: MediaStream): void {
    const query: Record<string, string | number> = { encoding: "f32le", rate_hz: context.sampleRate, channels: 1 };
    if (this.options.language !== "") query["language"] = this.options.language;
    const socket = new WebSocket(address("/v1/listen", query, this.options.token));
    this.socket = socket;
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data as string) as Event;
      if (event.type === "session.started") {
        this.options.onSession(event.session);
        this.capture(context, stream, socket);
      }
    };
    socket.onclose = ({ code, reason }) => this.finish(code === DONE ? null : reason || "the connection was lost");
  }

  private capture(context: AudioContext, stream: MediaStream, socket: WebSocket): void {
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }: MessageEvent<Float32Array<ArrayBuffer>>) => {
      if (socket.readyState !== WebSocket.OPEN) return;
      this.options.onLevel(loudness(data));
      if (socket.bufferedAmount > MOST_WAITING_BYTES) this.finish("the server takes the audio too slowly");
      else socket.send(data);
    };
    context.createMediaStreamSource(stream).connect(capture);
  }

  private finish(why: string | null): void {
    if (this.over) return;
    this.over = true;
    this.release();
    this.socket?.close();
    this.options.onEnd(why);
  }

  private release(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context !== null && this.context.state !== "closed") void this.context.close();
  }
}

/** From -60 dB to full scale. */
function loudness(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 + decibels / 60));
}
