import assert from "node:assert/strict";
import { test } from "node:test";
import { Call, OPENED } from "./call.ts";
import { Story } from "./stories.ts";

function told(call: Call) {
  return call.segments.map((segment) => `${segment.channel}/${segment.number} ${segment.committed}|${segment.tentative}`);
}

test("words that may still change give way to those that stay", () => {
  const call = new Call("s1", OPENED);
  const story = new Story();
  call.apply(story.started());
  call.apply(story.speaks(1, 0.5));
  call.apply(story.says(1, "I have", "been wading"));
  assert.deepEqual(told(call), ["0/1 I have|been wading"]);
  call.apply(story.says(1, "I have been waiting."));
  assert.deepEqual(told(call), ["0/1 I have been waiting.|"]);
});

test("an event that was heard before changes nothing", () => {
  const call = new Call("s1", OPENED);
  const story = new Story();
  const events = [story.started(), story.speaks(1, 0.5), story.sounds(1, 0.5, 2, 0.9)];
  for (const event of events) assert.equal(call.apply(event), true);
  const before = structuredClone({ segments: call.segments, worry: call.worry });
  for (const event of events) assert.equal(call.apply(event), false);
  assert.deepEqual({ segments: call.segments, worry: call.worry }, before);
});

test("segments of both voices lie by their start", () => {
  const call = new Call("s1", OPENED);
  const story = new Story();
  call.apply(story.speaks(1, 1.0, 0));
  call.apply(story.speaks(1, 3.0, 1));
  call.apply(story.speaks(2, 2.0, 0));
  assert.deepEqual(call.segments.map((segment) => segment.startS), [1, 2, 3]);
});

test("a call keeps no more than its bounds", () => {
  const call = new Call("s1", { segments: 3, points: 4 });
  const story = new Story();
  for (let number = 1; number <= 10; number += 1) {
    call.apply(story.speaks(number, number));
    call.apply(story.sounds(number, number, number + 0.9, 0.3));
  }
  assert.deepEqual(call.segments.map((segment) => segment.number), [8, 9, 10]);
  assert.equal(call.channels[0]?.points.length, 4);
});

test("an emotion that is not claimed has no label but names the best class", () => {
  const call = new Call("s1", OPENED);
  call.apply(new Story().sounds(1, 0, 2, 0.3));
  assert.deepEqual([call.channels[0]?.emotion?.label, call.channels[0]?.emotion?.best], [null, "neutral"]);
});

test("the final measurement stands in place of the last interim", () => {
  const call = new Call("s1", OPENED);
  const story = new Story();
  call.apply({ ...story.sounds(1, 0, 2, 0.3), final: false });
  call.apply(story.sounds(1, 0, 2.1, 0.9));
  assert.deepEqual(call.channels[0]?.points.map((point) => point.timeS), [2.1]);
});

test("nobody speaks once a call is over", () => {
  const call = new Call("s1", OPENED);
  const story = new Story();
  call.apply(story.speaks(1, 0));
  assert.equal(call.channels[0]?.speaking, true);
  call.apply(story.ended());
  assert.equal(call.channels[0]?.speaking, false);
  assert.equal(call.ended, true);
});
