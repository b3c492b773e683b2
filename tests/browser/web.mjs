// The page for browsers in Chromium: node web.mjs SITE MODEL [SCREENSHOT.png]
//
// SITE is the folder of the page, MODEL the demo's. A file that is no model is refused; a sentence is
// typed, and the page must show its label and its slots; then again without a server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, resolve } from "node:path";

import { withBrowser } from "./driver.mjs";

const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".wasm": "application/wasm" };

const [site, model, screenshot] = process.argv.slice(2);
const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  const file = path === "/" ? "index.html" : path.slice(1);
  try {
    const bytes = await readFile(join(site, file));
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    response.end(bytes);
  } catch {
    response.writeHead(404);
    response.end();
  }
}).listen(0, "127.0.0.1");
await once(server, "listening");
const stop = async () => {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
};

const READY = "return document.documentElement.dataset.ready === 'yes'";
const BEST = "return document.querySelector('#labels td')?.textContent";
const MARKS = `return [...document.querySelectorAll("mark")].map((mark) =>
  [mark.dataset.name, mark.firstChild.data])`;
// The vector of a text from both modules, as bits.
const VECTORS = `return (async () => {
  const { Model } = await import("./bert-edge.js");
  const file = await (await caches.match("model")).arrayBuffer();
  const bits = async (vectors) => {
    const model = await Model.load(file, { vectors });
    return Array.from(new Uint32Array(model.embed("switch on the fan").vector.buffer));
  };
  return [await bits(true), await bits(false)];
})()`;

try {
  await withBrowser(async (browser) => {
    await browser.open(`http://127.0.0.1:${server.address().port}/`);
    await browser.until("the page", READY);

    await browser.type("#file", resolve(site, "index.html"));
    const problem = await browser.until("the refusal", "return document.getElementById('problem').textContent");
    assert.match(problem, /index\.html: .*model/);

    await browser.type("#file", resolve(model));
    await browser.until("the model", "return !document.getElementById('ask').hidden");
    await browser.type("#first", "dim the lights in the kitchen to ten percent");
    await browser.until("the slots", `return (() => { ${MARKS} })().length === 2`);
    assert.deepEqual(await browser.run(MARKS), [["room", "kitchen"], ["percent", "ten percent"]]);
    assert.equal(await browser.run(BEST), "set_brightness");
    assert.match(await browser.run("return document.getElementById('note').textContent"), /^11 tokens in \d+\.\d\d ms$/);
    assert.equal(await browser.run("return document.getElementById('problem').hidden"), true);
    if (screenshot) await writeFile(screenshot, await browser.screenshot());

    const [wide, narrow] = await browser.run(VECTORS);
    assert.ok(wide.length > 0);
    assert.deepEqual(wide, narrow);

    await browser.until("the cache", "return caches.match('model').then(Boolean)");
    await browser.until("the service worker", "return navigator.serviceWorker.controller !== null");
    await stop();
    await browser.call("POST", "/refresh", {});
    await browser.until("the page without a server", READY);
    await browser.type("#first", "wake me at seven");
    assert.equal(await browser.until("an answer without a server", BEST), "set_alarm");
  });
} finally {
  if (server.listening) await stop();
}
console.log("the page for browsers: label, slots and bits are right, without a server too");
