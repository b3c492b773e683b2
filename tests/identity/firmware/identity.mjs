// Runs the WebAssembly runner: node identity.mjs FILE TEXTS
import { readFileSync, writeSync } from "node:fs";

const [file, texts] = process.argv.slice(2);
const decoder = new TextDecoder();
const host = {
  print: (start, length) =>
    writeSync(1, decoder.decode(new Uint8Array(instance.exports.memory.buffer, start, length))),
};
const { instance } = await WebAssembly.instantiate(readFileSync(file), { host });
process.exitCode = instance.exports.identity(Number(texts));
