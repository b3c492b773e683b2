// A WebDriver client of the few commands that the tests need; `chromedriver` is on the PATH.

import { spawn } from "node:child_process";
import { once } from "node:events";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
  "--disable-component-update", "--disable-sync", "--window-size=900,760",
];
// WebDriver's name of an element in JSON.
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE_MS = 20_000;

/** A headless Chromium, for the time of `use`. */
export async function withBrowser(use) {
  const driver = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const port = await portOf(driver);
    const call = async (method, path, body) => {
      const init = { method, body: body && JSON.stringify(body) };
      const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
      const { value } = await response.json();
      if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
      return value;
    };
    const capabilities = { alwaysMatch: { "goog:chromeOptions": { args: FLAGS } } };
    const { sessionId } = await call("POST", "/session", { capabilities });
    const at = `/session/${sessionId}`;
    try {
      return await use(new Browser((method, path, body) => call(method, at + path, body)));
    } finally {
      await call("DELETE", at);
    }
  } finally {
    driver.kill();
    await once(driver, "exit");
  }
}

async function portOf(driver) {
  let text = "";
  for await (const chunk of driver.stdout) {
    text += chunk;
    const found = /started successfully on port (\d+)/.exec(text);
    if (found) {
      driver.stdout.resume();
      return found[1];
    }
  }
  throw new Error(`chromedriver does not start: ${text}`);
}

class Browser {
  constructor(call) {
    this.call = call;
  }

  open(url) {
    return this.call("POST", "/url", { url });
  }

  /** What a script returns in the page. */
  run(script, ...args) {
    return this.call("POST", "/execute/sync", { script, args });
  }

  async element(selector) {
    const found = await this.call("POST", "/element", { using: "css selector", value: selector });
    return found[ELEMENT];
  }

  /** Types as a keyboard does, key by key. */
  async type(selector, text) {
    await this.call("POST", `/element/${await this.element(selector)}/value`, { text });
  }

  async clear(selector) {
    await this.call("POST", `/element/${await this.element(selector)}/clear`, {});
  }

  /** Waits until a script gives something true, and gives that. */
  async until(what, script, ...args) {
    const end = Date.now() + PATIENCE_MS;
    while (Date.now() < end) {
      const value = await this.run(script, ...args);
      if (value) return value;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${what}: not within ${PATIENCE_MS} ms`);
  }

  /** The page as PNG. */
  async screenshot() {
    return Buffer.from(await this.call("GET", "/screenshot"), "base64");
  }
}
