// bert-core in a browser or in Node: a model file in, answers out. No dependencies, no network beyond the
// files it is told to load. Types and their documentation are in bert-edge.d.ts.

const SIMD_FILE = new URL("./bert-edge.simd.wasm", import.meta.url);
const SCALAR_FILE = new URL("./bert-edge.wasm", import.meta.url);

// A module with one vector instruction: valid only where there are vectors.
const VECTORS = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

// By the numbers that the module gives them.
const HEADS = ["classify", "tag", "joint", "pair", "regress", "span", "embed", "multi-label"];

// Words of an entry and of the summary, as src/engine.rs lays them out.
const ENTRY_WORDS = 6;
const SUMMARY_WORDS = 9;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Why a file or a text was refused. */
export class BertError extends Error {
  name = "BertError";
}

/** Whether the module with vectors runs here. */
export function hasVectors() {
  return WebAssembly.validate(VECTORS);
}

const modules = new Map();

// Compiles a module once, however many models there are.
async function compiled(source) {
  if (source instanceof WebAssembly.Module) return source;
  const key = source instanceof URL ? source.href : source;
  if (!modules.has(key)) {
    modules.set(key, bytesOf(source).then((bytes) => WebAssembly.compile(bytes)));
  }
  try {
    return await modules.get(key);
  } catch (error) {
    // A file that could not be loaded may be there the next time.
    modules.delete(key);
    throw error;
  }
}

// The bytes of whatever may hold a file.
async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source?.arrayBuffer === "function") return new Uint8Array(await source.arrayBuffer());
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw new BertError("a model is an address, bytes, a File or a Response");
  }
  const address = String(source);
  if (address.startsWith("file:")) {
    // Node does not fetch files.
    const { readFile } = await import("node:fs/promises");
    return new Uint8Array(await readFile(new URL(address)));
  }
  const response = await fetch(address);
  if (!response.ok) throw new BertError(`${address}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

export class Model {
  #wasm;

  /** Loads a model file, checks it and lets it test itself. */
  static async load(source, options = {}) {
    const vectors = options.vectors ?? hasVectors();
    const [file, module] = await Promise.all([
      bytesOf(source),
      compiled(options.module ?? (vectors ? SIMD_FILE : SCALAR_FILE)),
    ]);
    const instance = await WebAssembly.instantiate(module, {});
    return new Model(instance.exports, file, vectors);
  }

  constructor(wasm, file, vectors) {
    this.#wasm = wasm;
    const room = wasm.file_room(file.length);
    if (room === 0) throw new BertError(`there is not enough memory for ${file.length} bytes`);
    new Uint8Array(wasm.memory.buffer).set(file, room);
    this.#check(wasm.open());
    this.#check(wasm.names());
    const { labels, words } = this.#results([]);
    this.head = HEADS[wasm.head()] ?? "unknown";
    this.labels = labels.map((entry) => entry.name);
    this.tags = words.map((entry) => entry.name);
    this.maxLength = wasm.max_length();
    this.bytes = file.length;
    this.vectors = vectors;
  }

  /** The label of a text or of two. */
  classify(text, second) {
    const texts = this.#write(second === undefined ? [text] : [text, second]);
    const [a, b] = texts.map((one) => one.bytes.length);
    const wasm = this.#wasm;
    this.#check(b === undefined ? wasm.classify(a) : wasm.classify_pair(a, b));
    const { labels, summary } = this.#results([]);
    return { ...labelled(labels, summary), ...extent(summary) };
  }

  /** All labels of a text above a threshold. */
  classifyLabels(text, { threshold = 0.5 } = {}) {
    const [written] = this.#write([text]);
    this.#check(this.#wasm.classify_labels(written.bytes.length));
    const { labels, summary } = this.#results([]);
    const probabilities = labels.map(({ name, probability }) => ({ label: name, probability }));
    return {
      labels: probabilities.filter((one) => one.probability > threshold),
      probabilities,
      ...extent(summary),
    };
  }

  /** The tag of each word of a text, the spans they make, and of a joint model the label. */
  tag(text) {
    const texts = this.#write([text]);
    this.#check(this.#wasm.tag(texts[0].bytes.length));
    const { labels, words, spans, summary } = this.#results(texts);
    const place = ({ text, start, end, probability }) => ({ text, start, end, probability });
    return {
      ...(labels.length > 0 ? labelled(labels, summary) : {}),
      words: words.map((word) => ({ ...place(word), tag: word.name })),
      spans: spans.map((span) => ({ ...place(span), name: span.name })),
      ...extent(summary),
    };
  }

  /** The best answers to a question in a context of any length. */
  answer(question, context, { count = 3, stride = 128, maxAnswerTokens = 30, noAnswerThreshold = NaN } = {}) {
    const texts = this.#write([question, context]);
    const [a, b] = texts.map((one) => one.bytes.length);
    this.#check(this.#wasm.answer(a, b, stride, maxAnswerTokens, noAnswerThreshold));
    const { labels, summary } = this.#results([texts[1]]);
    const answers = labels
      .slice(0, count)
      .map(({ text, start, end, score, probability }) => ({ text, start, end, score, probability }));
    return {
      answer: summary.has_answer ? (answers[0] ?? null) : null,
      answers,
      noAnswerProbability: summary.no_answer_probability,
    };
  }

  /** The numbers of a regression. */
  regress(text, second) {
    const texts = this.#write(second === undefined ? [text] : [text, second]);
    const [a, b] = texts.map((one) => one.bytes.length);
    const wasm = this.#wasm;
    this.#check(b === undefined ? wasm.regress(a) : wasm.regress_pair(a, b));
    const { numbers, summary } = this.#results([]);
    return { values: Array.from(numbers), ...extent(summary) };
  }

  /** The vector of a text. */
  embed(text, { normalize = true } = {}) {
    const [written] = this.#write([text]);
    this.#check(this.#wasm.embed(written.bytes.length, Number(normalize)));
    const { numbers, summary } = this.#results([]);
    return { vector: numbers, ...extent(summary) };
  }

  // Writes texts one behind the other.
  #write(texts) {
    const written = texts.map((text) => {
      if (typeof text !== "string") throw new BertError("a text is a string");
      return { string: text, bytes: encoder.encode(text) };
    });
    const total = written.reduce((sum, { bytes }) => sum + bytes.length, 0);
    let room = this.#wasm.text_room(total);
    if (room === 0) throw new BertError(`there is not enough memory for ${total} bytes`);
    // The room may have grown the memory, which makes older views of it useless.
    const memory = new Uint8Array(this.#wasm.memory.buffer);
    for (const { bytes } of written) {
      memory.set(bytes, room);
      room += bytes.length;
    }
    return written;
  }

  #check(status) {
    if (status === 0) return;
    const wasm = this.#wasm;
    const said = new Uint8Array(wasm.memory.buffer, wasm.message(), wasm.message_bytes());
    throw new BertError(decoder.decode(said));
  }

  // Reads what the last question left; places are in the text, if there is one.
  #results(texts) {
    const wasm = this.#wasm;
    const { buffer } = wasm.memory;
    const words = new Uint32Array(buffer, wasm.summary(), SUMMARY_WORDS);
    const [labels, tagged, spans, best, count, tokens, truncated, has_answer] = words;
    const [no_answer_probability] = new Float32Array(buffer, wasm.summary() + 32, 1);
    const units = texts.length > 0 ? unitsOf(texts[0].string, texts[0].bytes) : null;
    const total = labels + tagged + spans;
    const integers = new Uint32Array(buffer, wasm.entries(), ENTRY_WORDS * total);
    const floats = new Float32Array(buffer, wasm.entries(), ENTRY_WORDS * total);
    const names = new Map();
    const entries = [];
    for (let at = 0; at < ENTRY_WORDS * total; at += ENTRY_WORDS) {
      const [first, last, name, nameBytes] = integers.subarray(at, at + 4);
      if (!names.has(name)) {
        names.set(name, decoder.decode(new Uint8Array(buffer, name, nameBytes)));
      }
      const [start, end] = units ? [units[first], units[last]] : [first, last];
      entries.push({
        start,
        end,
        text: units ? texts[0].string.slice(start, end) : "",
        name: names.get(name),
        probability: floats[at + 4],
        score: floats[at + 5],
      });
    }
    return {
      labels: entries.slice(0, labels),
      words: entries.slice(labels, labels + tagged),
      spans: entries.slice(labels + tagged),
      // A copy: the next question writes to the same place.
      numbers: new Float32Array(buffer, wasm.numbers(), count).slice(),
      summary: { best, tokens, truncated: truncated !== 0, has_answer: has_answer !== 0, no_answer_probability },
    };
  }
}

// For each byte of a text the UTF-16 unit at which its character begins, which is what strings count in.
function unitsOf(string, bytes) {
  const units = new Uint32Array(bytes.length + 1);
  let unit = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    // Bytes behind the first of a character, and characters of four bytes, which are two units.
    const continues = (bytes[at] & 0xc0) === 0x80;
    if (!continues && at > 0) unit += bytes[lead(bytes, at - 1)] >= 0xf0 ? 2 : 1;
    units[at] = unit;
  }
  units[bytes.length] = string.length;
  return units;
}

// Where the character of this byte begins.
function lead(bytes, at) {
  while ((bytes[at] & 0xc0) === 0x80) at -= 1;
  return at;
}

function labelled(labels, summary) {
  const best = labels[summary.best];
  return {
    label: best.name,
    probability: best.probability,
    probabilities: labels.map(({ name, probability }) => ({ label: name, probability })),
  };
}

function extent({ tokens, truncated }) {
  return { tokens, truncated };
}
