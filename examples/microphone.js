// An AudioWorklet that hands over what the microphone hears, 100 ms at a time: blocks of 128 samples are too short to send.
class Microphone extends AudioWorkletProcessor {
  #samples = new Float32Array(Math.round(sampleRate / 10));
  #filled = 0;

  process([[heard]]) {
    if (!heard) return true; // not connected yet
    for (let taken = 0; taken < heard.length; ) {
      const piece = heard.subarray(taken, taken + this.#samples.length - this.#filled);
      this.#samples.set(piece, this.#filled);
      this.#filled += piece.length;
      taken += piece.length;
      if (this.#filled === this.#samples.length) {
        this.port.postMessage(this.#samples.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
