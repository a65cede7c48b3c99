// How a voice fares: the figure that calls are sorted by, worst first.

/** Seconds of the call after which a measurement counts for a third: the present, and what it is compared with. */
const NOW_S = 8;
const BEFORE_S = 45;
/** Of scores, how much each counts as something that a person should look at; classes that are not named count nothing. */
const WEIGHTS: Record<string, number> = { angry: 1, contempt: 0.7, disgust: 0.6, fear: 0.5, sad: 0.4 };
const VALENCE_RANGE = 6;
/** Beyond these, a change is a direction. */
const STEADY = 0.08;

export type Direction = "rising" | "falling" | "steady";

interface Measured {
  scores: Record<string, number>;
  valence: number | null;
}

/**
 * Follows one voice on the clock of its call, twice smoothed: as it is now, and as it was before.
 *
 * Worry is the weighted negative probability now, raised by how much it is above what it was and by how much valence
 * has fallen: so that of two angry calls the one that gets worse comes first, and a call that only turns sour is seen.
 */
export class Mood {
  private negativeNow = 0;
  private negativeBefore = 0;
  private valenceNow = 4;
  private valenceBefore = 4;
  private lastS: number | null = null;

  take(timeS: number, measured: Measured): void {
    const negative = Math.min(
      1,
      Object.entries(measured.scores).reduce((sum, [label, score]) => sum + score * (WEIGHTS[label] ?? 0), 0),
    );
    const valence = measured.valence ?? this.valenceNow;
    if (this.lastS === null) {
      this.negativeNow = negative;
      this.negativeBefore = negative;
      this.valenceNow = valence;
      this.valenceBefore = valence;
    } else {
      const passedS = Math.max(0.2, timeS - this.lastS);
      const now = 1 - Math.exp(-passedS / NOW_S);
      const before = 1 - Math.exp(-passedS / BEFORE_S);
      this.negativeNow += now * (negative - this.negativeNow);
      this.negativeBefore += before * (negative - this.negativeBefore);
      this.valenceNow += now * (valence - this.valenceNow);
      this.valenceBefore += before * (valence - this.valenceBefore);
    }
    this.lastS = Math.max(timeS, this.lastS ?? timeS);
  }

  /** 0 where nothing is wrong, 1 at most. */
  get worry(): number {
    const rise = Math.max(0, this.negativeNow - this.negativeBefore);
    const fall = Math.max(0, this.valenceBefore - this.valenceNow) / VALENCE_RANGE;
    return 1 - (1 - this.negativeNow) * (1 - rise) * (1 - fall);
  }

  /** Where worry goes. */
  get direction(): Direction {
    const change =
      this.negativeNow - this.negativeBefore + (this.valenceBefore - this.valenceNow) / VALENCE_RANGE;
    if (change > STEADY) return "rising";
    return change < -STEADY ? "falling" : "steady";
  }
}
