// What the package answers is what `bert-edge` answers, to the bit: node --test test/node.test.mjs
//
// BERT_PACKAGE is the folder of the package, BERT_EDGE the program, BERT_MODEL a model file with intents
// and slots.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { BERT_PACKAGE, BERT_EDGE, BERT_MODEL } = process.env;
const { BertError, Model, hasVectors } = await import(pathToFileURL(`${BERT_PACKAGE}/bert-edge.js`));
const file = readFileSync(BERT_MODEL);

const TEXTS = [
  "dim the lights in the kitchen to ten percent",
  "Wake me at SEVEN, please!",
  "",
  "   ",
  "😀 dim the lights in the kïtchen to ten percent",
  "加湿器 \u{1F468}\u200D\u{1F469} e\u0301teindre\tla lumière du salon",
  "play some music in the bathroom and then ".repeat(40),
  "\u{0000}\u{FFFD} \u{10FFFF}",
];

const told = (command, text, ...more) =>
  JSON.parse(execFileSync(BERT_EDGE, [command, BERT_MODEL, "--json", ...more, "-"], { input: `${text}\n` })).results[0];

// The program rounds probabilities for people.
const near = (found, expected) => assert.ok(Math.abs(found - expected) < 1e-6, `${found} for ${expected}`);

for (const vectors of [true, false]) {
  test(`answers are those of bert-edge, ${vectors ? "with" : "without"} vectors`, async () => {
    const model = await Model.load(file, { vectors });
    assert.equal(model.head, "joint");
    assert.equal(model.bytes, file.length);
    for (const text of TEXTS) {
      const tagging = model.tag(text);
      const expected = text === "" ? null : told("tag", text);
      if (expected) {
        assert.equal(tagging.label, expected.label);
        near(tagging.probability, expected.probability);
        assert.equal(tagging.truncated, expected.truncated);
        const words = ({ text, tag }) => [text, tag];
        assert.deepEqual(tagging.words.map(words), expected.words.map(({ word, tag }) => [word, tag]));
        const spans = tagging.spans.map(({ name, text }) => [name, text]);
        assert.deepEqual(spans, expected.slots.map(({ slot, text }) => [slot, text]));
      }
      for (const part of [...tagging.words, ...tagging.spans]) {
        assert.equal(text.slice(part.start, part.end), part.text);
      }
      const { label, probabilities } = model.classify(text);
      assert.equal(label, tagging.label);
      assert.deepEqual(probabilities.map((one) => one.label), model.labels);
      near(probabilities.reduce((sum, { probability }) => sum + probability, 0), 1);
    }
  });

  test(`vectors have the same bits, ${vectors ? "with" : "without"} vectors`, async () => {
    const model = await Model.load(file, { vectors });
    for (const text of TEXTS.filter((text) => text !== "")) {
      const { vector } = model.embed(text, { normalize: false });
      assert.deepEqual(vector, Float32Array.from(told("embed", text).vector));
      const unit = model.embed(text).vector;
      near(Math.hypot(...unit), 1);
    }
  });
}

test("two models do not know of each other", async () => {
  const [a, b] = await Promise.all([Model.load(file), Model.load(file)]);
  const before = a.tag(TEXTS[0]);
  b.tag(TEXTS[6]);
  assert.deepEqual(a.tag(TEXTS[0]), before);
});

test("long texts do not need more memory each time", async () => {
  const model = await Model.load(file);
  const long = "lights ".repeat(100_000);
  for (let i = 0; i < 20; i += 1) assert.ok(model.tag(long).truncated);
});

test("what is no model, or was changed, is refused with a reason", async () => {
  const refused = (bytes, reason) =>
    assert.rejects(Model.load(bytes), (error) => error instanceof BertError && reason.test(error.message));
  await refused(new Uint8Array(0), /truncated|not a model|bytes/);
  await refused(new Uint8Array(1000), /not a model file/);
  await refused(file.subarray(0, file.length - 1), /truncated/);
  const changed = Uint8Array.from(file);
  changed[changed.length >> 1] ^= 1;
  await refused(changed, /checksum/);
  await assert.rejects(Model.load(42), BertError);
});

test("a question for another head is refused", async () => {
  const model = await Model.load(file);
  for (const ask of [
    () => model.answer("who?", "nobody"),
    () => model.regress("a"),
    () => model.classifyLabels("a"),
    () => model.classify("a", "b"),
    () => model.tag(undefined),
  ]) {
    assert.throws(ask, BertError);
  }
  // It answers afterwards.
  assert.equal(model.tag(TEXTS[0]).label, "set_brightness");
});

test("a response and an address load as bytes do", async () => {
  const label = (model) => model.tag(TEXTS[0]).label;
  assert.equal(label(await Model.load(new Response(file))), "set_brightness");
  assert.equal(label(await Model.load(pathToFileURL(BERT_MODEL))), "set_brightness");
  assert.equal(typeof hasVectors(), "boolean");
});
