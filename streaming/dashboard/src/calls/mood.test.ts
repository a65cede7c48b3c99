import assert from "node:assert/strict";
import { test } from "node:test";
import { Mood } from "./mood.ts";

function after(values: readonly { angry: number; valence: number }[]): Mood {
  const mood = new Mood();
  values.forEach(({ angry, valence }, index) => mood.take(2 * index, { scores: { angry, neutral: 1 - angry }, valence }));
  return mood;
}

const steady = (angry: number, valence: number, count: number) => Array.from({ length: count }, () => ({ angry, valence }));

test("a calm voice is no worry", () => {
  assert.ok(after(steady(0, 4, 20)).worry < 0.01);
});

test("worry lies between 0 and 1 whatever is measured", () => {
  for (const mood of [after([]), after(steady(1, 1, 30)), after([...steady(0, 7, 20), ...steady(1, 1, 20)])]) {
    assert.ok(mood.worry >= 0 && mood.worry <= 1, String(mood.worry));
  }
});

test("of two voices as angry as each other now, the one whose anger rose is worse", () => {
  const rising = after([...steady(0, 4, 30), ...steady(0.7, 4, 8)]);
  const always = after(steady(0.7, 4, 38));
  assert.ok(rising.worry > always.worry);
  assert.deepEqual([rising.direction, always.direction], ["rising", "steady"]);
});

test("a voice that turns sour without anger is seen", () => {
  assert.ok(after([...steady(0, 5, 30), ...steady(0, 2, 8)]).worry > after(steady(0, 5, 38)).worry + 0.1);
});

test("a voice that calms down is less of a worry than before", () => {
  const angry = steady(0.9, 2, 20);
  const calmed = after([...angry, ...steady(0.05, 4, 20)]);
  assert.ok(calmed.worry < after(angry).worry / 2);
  assert.equal(calmed.direction, "falling");
});
