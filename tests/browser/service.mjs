// The service's page in Chromium: node service.mjs BERT-EDGE MODEL [SCREENSHOT.png]
//
// MODEL is the demo's. A sentence is typed; the page must show its label and its slots.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";

import { withBrowser } from "./driver.mjs";

const [program, model, screenshot] = process.argv.slice(2);
const service = spawn(program, ["serve", model, "--listen", "127.0.0.1:0", "--log", "quiet"], {
  stdio: ["ignore", "pipe", "inherit"],
});
const [line] = await once(service.stdout, "data");
const address = /http:\S+/.exec(line)[0];

const ended = once(service, "exit");
try {
  await withBrowser(async (browser) => {
    await browser.open(address);
    await browser.type("#text", "dim the lights in the kitchen to ten percent");
    const label = 'return document.querySelector("#label").dataset.label === "set_brightness"';
    await browser.until("the label", label);
    const script = `return [...document.querySelectorAll("#words .tagged")].map((word) =>
      [word.firstChild.data, word.dataset.tag, word.style.background !== ""])`;
    // What was typed last may not be answered yet when the label is right already.
    await browser.until("the slots", `return (() => { ${script} })().length === 3`);
    assert.deepEqual(await browser.run(script), [
      ["kitchen", "B-room", true],
      ["ten", "B-percent", true],
      ["percent", "I-percent", true],
    ]);
    assert.equal(await browser.run('return document.querySelector("#error").textContent'), "");
    if (screenshot) await writeFile(screenshot, await browser.screenshot());
  });
} finally {
  service.kill("SIGTERM");
}
const [code] = await ended;
assert.equal(code, 0);
console.log("the service's page: label, slots and colours are right");
