import assert from "node:assert/strict";
import { test } from "node:test";
import type { AlertRule } from "../wire/server.ts";
import { AlertWatch } from "./alerts.ts";
import { Story } from "./stories.ts";

const ANGRY: AlertRule = { rule: "angry above 0.6 for 3 s", measure: "angry", side: "above", threshold: 0.6, for_s: 3 };
const SOUR: AlertRule = { rule: "valence below 2.5 for 0 s", measure: "valence", side: "below", threshold: 2.5, for_s: 0 };

function spans(watch: AlertWatch) {
  return watch.alerts.map((alert) => [alert.session, alert.sinceS, alert.untilS, alert.holds]);
}

test("an alert begins when its rule has held for long enough, from the start of the speech that first showed it", () => {
  const watch = new AlertWatch([ANGRY]);
  const story = new Story();
  assert.equal(watch.take(story.sounds(1, 2, 4, 0.7)).length, 0);
  assert.equal(watch.take(story.sounds(1, 2, 5, 0.7)).length, 1);
  assert.deepEqual(spans(watch), [["s1", 2, 5, true]]);
});

test("an alert that holds is told once, and grows", () => {
  const watch = new AlertWatch([ANGRY]);
  const story = new Story();
  watch.take(story.sounds(1, 0, 4, 0.9));
  assert.equal(watch.take(story.sounds(2, 6, 8, 0.9)).length, 0);
  assert.deepEqual(spans(watch), [["s1", 0, 8, true]]);
});

test("one calm answer ends the alert, and the next one begins anew", () => {
  const watch = new AlertWatch([ANGRY]);
  const story = new Story();
  watch.take(story.sounds(1, 0, 4, 0.9));
  watch.take(story.sounds(2, 5, 6, 0.1));
  assert.deepEqual(spans(watch), [["s1", 0, 4, false]]);
  assert.equal(watch.take(story.sounds(3, 7, 9, 0.9)).length, 0);
  assert.equal(watch.take(story.sounds(3, 7, 10, 0.9)).length, 1);
});

test("the threshold itself counts", () => {
  assert.equal(new AlertWatch([{ ...ANGRY, for_s: 0 }]).take(new Story().sounds(1, 0, 1, 0.6)).length, 1);
});

test("a rule may watch an attribute from above", () => {
  const watch = new AlertWatch([SOUR]);
  const story = new Story();
  assert.equal(watch.take(story.sounds(1, 0, 1, 0.5)).length, 0); // valence 4
  assert.equal(watch.take(story.sounds(2, 2, 3, 0.9)).length, 1); // valence 1.6
});

test("speech without words neither raises nor ends an alert", () => {
  const watch = new AlertWatch([{ ...ANGRY, for_s: 0 }]);
  const story = new Story();
  watch.take(story.sounds(1, 0, 1, 0.9));
  watch.take({ ...story.sounds(2, 2, 3, 0), scores: {}, attributes: null });
  assert.equal(watch.holding("s1"), 1);
});

test("calls and channels are watched apart", () => {
  const watch = new AlertWatch([ANGRY]);
  watch.take(new Story("one").sounds(1, 0, 2, 0.9));
  watch.take(new Story("two").sounds(1, 2, 4, 0.9));
  watch.take(new Story("one").sounds(1, 2, 4, 0.9, 1));
  assert.deepEqual(watch.alerts, []);
});

test("nothing holds in a call that is over", () => {
  const watch = new AlertWatch([ANGRY]);
  watch.take(new Story().sounds(1, 0, 4, 0.9));
  watch.end("s1");
  assert.equal(watch.holding("s1"), 0);
  assert.equal(watch.alerts.length, 1);
});

test("alerts are bounded, and those that hold stay", () => {
  const watch = new AlertWatch([{ ...ANGRY, for_s: 0 }]);
  watch.take(new Story("held").sounds(1, 0, 1, 0.9));
  for (let number = 0; number < 300; number += 1) {
    const story = new Story(`over-${number}`);
    watch.take(story.sounds(1, 0, 1, 0.9));
    watch.end(story.session);
  }
  assert.equal(watch.alerts.length, 200);
  assert.equal(watch.holding("held"), 1);
});
