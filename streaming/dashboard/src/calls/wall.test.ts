import assert from "node:assert/strict";
import { test } from "node:test";
import { Story } from "./stories.ts";
import { EVERYTHING, Wall } from "./wall.ts";

function names(wall: Wall, filter = {}) {
  return wall.sorted({ ...EVERYTHING, ...filter }).map((call) => call.session);
}

function wallOf(angers: Record<string, number>): Wall {
  const wall = new Wall([]);
  for (const [session, angry] of Object.entries(angers)) wall.apply(new Story(session).sounds(1, 0, 2, angry));
  return wall;
}

test("the worst call comes first", () => {
  assert.deepEqual(names(wallOf({ calm: 0.05, furious: 0.95, cross: 0.5 })), ["furious", "cross", "calm"]);
});

test("calls that are over come last, the latest first", () => {
  const wall = wallOf({ live: 0.1 });
  for (const session of ["first", "second"]) {
    const story = new Story(session);
    wall.apply(story.sounds(1, 0, 2, 0.95));
    wall.apply(story.ended());
  }
  assert.deepEqual(names(wall), ["live", "second", "first"]);
  assert.deepEqual(names(wall, { state: "live" }), ["live"]);
  assert.deepEqual(names(wall, { state: "ended" }), ["second", "first"]);
});

test("small changes move no card", () => {
  const wall = new Wall([]);
  const [one, other] = [new Story("one"), new Story("other")];
  wall.apply(one.sounds(1, 0, 2, 0.5));
  wall.apply(other.sounds(1, 0, 2, 0.5));
  assert.deepEqual(names(wall), ["one", "other"]);
  wall.apply(other.sounds(2, 3, 5, 0.6));
  assert.deepEqual(names(wall), ["one", "other"]);
});

test("a search finds names, roles and words", () => {
  const wall = new Wall([]);
  wall.apply(new Story("alpha").says(1, "where is my refund"));
  wall.apply(new Story("beta").says(1, "thank you", "", 1));
  assert.deepEqual(names(wall, { text: "ALP" }), ["alpha"]);
  assert.deepEqual(names(wall, { text: "refund" }), ["alpha"]);
  assert.deepEqual(names(wall, { text: "agent" }), ["beta"]);
  assert.deepEqual(names(wall, { text: "nobody" }), []);
});

test("calls can be chosen by what they sound like, and by their alerts", () => {
  const wall = new Wall([{ rule: "", measure: "angry", side: "above", threshold: 0.6, for_s: 0 }]);
  wall.apply(new Story("calm").sounds(1, 0, 2, 0.1));
  wall.apply(new Story("furious").sounds(1, 0, 2, 0.9));
  assert.deepEqual(names(wall, { emotion: "angry" }), ["furious"]);
  assert.deepEqual(names(wall, { alertsOnly: true }), ["furious"]);
});

test("calls that a replay does not name have ended while nobody listened", () => {
  const wall = wallOf({ kept: 0.1, gone: 0.1 });
  wall.beginReplay();
  wall.apply(new Story("kept").sounds(1, 0, 2, 0.1));
  wall.endReplay();
  assert.deepEqual([...wall.calls.values()].map((call) => [call.session, call.ended]), [["kept", false], ["gone", true]]);
});

test("a name that comes again is another call", () => {
  const wall = new Wall([]);
  for (const moment of ["2026-01-02T03:04:05.000Z", "2026-01-02T04:00:00.000Z"]) {
    const story = new Story("again");
    wall.apply({ ...story.started(), emitted_at: moment });
    wall.apply(story.says(1, moment));
    wall.apply(story.ended());
  }
  const call = wall.calls.get("again");
  assert.deepEqual(call?.segments.map((segment) => segment.committed), ["2026-01-02T04:00:00.000Z"]);
});

test("calls that are over are forgotten in time", () => {
  const wall = new Wall([]);
  for (let number = 0; number < 100; number += 1) wall.apply(new Story(`call-${number}`).ended());
  assert.equal(wall.calls.size, 40);
  assert.ok(wall.calls.has("call-99"));
});

test("what changed is handed out a little at a time, each call once", () => {
  const wall = wallOf({ a: 0.1, b: 0.1, c: 0.1 });
  assert.deepEqual(wall.takeChanged(2).map((call) => call.session), ["a", "b"]);
  assert.deepEqual(wall.takeChanged(2).map((call) => call.session), ["c"]);
  assert.equal(wall.hasChanges, false);
});
