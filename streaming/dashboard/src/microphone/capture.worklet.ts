// Runs on the audio thread: gathers the microphone's samples into pieces worth sending.

declare const sampleRate: number;
declare abstract class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

const PIECE_S = 0.1;
const PIECE_SAMPLES = Math.round(PIECE_S * sampleRate);

class Capture extends AudioWorkletProcessor {
  private piece = new Float32Array(PIECE_SAMPLES);
  private filled = 0;

  process(inputs: Float32Array[][]): boolean {
    let samples = inputs[0]?.[0];
    while (samples !== undefined && samples.length > 0) {
      const part = samples.subarray(0, PIECE_SAMPLES - this.filled);
      this.piece.set(part, this.filled);
      this.filled += part.length;
      if (this.filled === PIECE_SAMPLES) {
        this.port.postMessage(this.piece, [this.piece.buffer]);
        this.piece = new Float32Array(PIECE_SAMPLES);
        this.filled = 0;
      }
      samples = samples.subarray(part.length);
    }
    return true;
  }
}

registerProcessor("capture", Capture);
