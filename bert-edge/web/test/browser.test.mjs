// The page in a real browser: node --test test/browser.test.mjs
//
// BERT_SITE is the folder of the page, BERT_MODEL the demo's model file, BERT_SCREENSHOT where a picture
// goes if it is wanted. Needs chromium and chromedriver.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { after, before, test } from "node:test";

const { BERT_SITE, BERT_MODEL, BERT_SCREENSHOT } = process.env;
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".wasm": "application/wasm" };
const WAIT_MS = 30_000;

let server, site, driver, session;
const profile = mkdtempSync(join(tmpdir(), "bert-edge-browser-"));

function serve(port) {
  const handler = async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const file = path === "/" ? "index.html" : path.slice(1);
    try {
      const bytes = await readFile(join(BERT_SITE, file));
      response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
      response.end(bytes);
    } catch {
      response.writeHead(404);
      response.end();
    }
  };
  return new Promise((done) => {
    server = createServer(handler).listen(port, "127.0.0.1", () => done(server.address().port));
  });
}

async function command(method, path, body) {
  const response = await fetch(`${driver.address}${path}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${value.message}`);
  return value;
}

const inSession = (method, path, body) => command(method, `/session/${session}${path}`, body);
const script = (text, ...args) => inSession("POST", "/execute/sync", { script: text, args });
const element = async (css) =>
  Object.values(await inSession("POST", "/element", { using: "css selector", value: css }))[0];
const type = async (css, text) => inSession("POST", `/element/${await element(css)}/value`, { text });

// Until the condition, a script, gives something true.
async function until(condition) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const value = await script(`return ${condition}`);
    if (value) return value;
    assert.ok(Date.now() < end, `never: ${condition}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function startDriver() {
  const child = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise((done, failed) => {
    let said = "";
    child.on("error", failed);
    child.on("exit", (code) => failed(new Error(`chromedriver ended with ${code}: ${said}`)));
    child.stdout.on("data", (data) => {
      said += data;
      const found = /started successfully on port (\d+)/.exec(said);
      if (found) done(found[1]);
    });
  });
  return { child, address: `http://127.0.0.1:${port}` };
}

before(async () => {
  const port = await serve(0);
  site = `http://127.0.0.1:${port}/`;
  driver = await startDriver();
  const args = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,760",
    `--user-data-dir=${profile}`,
  ];
  const wanted = { browserName: "chrome", "goog:chromeOptions": { args } };
  const made = await command("POST", "/session", { capabilities: { alwaysMatch: wanted } });
  session = made.sessionId;
  await inSession("POST", "/url", { url: site });
  await until("document.documentElement.dataset.ready");
});

after(async () => {
  if (session) await inSession("DELETE", "");
  driver?.child.kill();
  server?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
});

// What the page shows.
const shown = () =>
  script(`return {
    best: document.querySelector("#labels td")?.textContent,
    marks: [...document.querySelectorAll("mark")].map((mark) => [mark.dataset.name, mark.firstChild.textContent]),
    note: document.getElementById("note").textContent,
    problem: document.getElementById("problem").hidden ? "" : document.getElementById("problem").textContent,
  }`);

test("a file that is no model is refused in words", async () => {
  await type("#file", resolve(join(BERT_SITE, "index.html")));
  await until(`!document.getElementById("problem").hidden`);
  assert.match((await shown()).problem, /index\.html: .*model/);
});

test("a sentence that is typed gets its intent and its slots", async () => {
  await type("#file", resolve(BERT_MODEL));
  await until(`!document.getElementById("ask").hidden`);
  await type("#first", "dim the lights in the kitchen to ten percent");
  await until(`document.querySelectorAll("mark").length === 2`);
  const { best, marks, note, problem } = await shown();
  assert.equal(best, "set_brightness");
  assert.deepEqual(marks, [["room", "kitchen"], ["percent", "ten percent"]]);
  assert.match(note, /^\d+ tokens in \d+\.\d\d ms$/);
  assert.equal(problem, "");
  if (BERT_SCREENSHOT) {
    writeFileSync(BERT_SCREENSHOT, Buffer.from(await inSession("GET", "/screenshot"), "base64"));
  }
});

test("the page and its model are there without a network", async () => {
  await until(`caches.match("model").then(Boolean)`);
  await until(`navigator.serviceWorker.controller !== null`);
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await inSession("POST", "/refresh", {});
  await until("document.documentElement.dataset.ready");
  await type("#first", "wake me at seven");
  await until(`document.querySelector("#labels td")`);
  assert.equal((await shown()).best, "set_alarm");
});

test("both modules answer in the browser, with the same bits", async () => {
  const answers = await inSession("POST", "/execute/async", {
    script: `
      const done = arguments[arguments.length - 1];
      (async () => {
        const { Model } = await import("./bert-edge.js");
        const file = await (await caches.match("model")).arrayBuffer();
        const vectors = [];
        for (const simd of [true, false]) {
          const model = await Model.load(file, { vectors: simd });
          vectors.push(Array.from(new Uint32Array(model.embed("switch on the fan").vector.buffer)));
        }
        return vectors;
      })().then(done, (error) => done(String(error)));`,
    args: [],
  });
  assert.ok(Array.isArray(answers), answers);
  assert.deepEqual(answers[0], answers[1]);
  assert.ok(answers[0].length > 0);
});
