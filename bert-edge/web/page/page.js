// The page: a model file in, answers as one types.

import { BertError, Model } from "./bert-edge.js";

const STORE = "bert-edge-model";
const SHOWN_LABELS = 5;
const SHOWN_NUMBERS = 8;

// What the two fields mean to a model; a task without `second` has one.
const FIELDS = {
  pair: { first: "First text", second: "Second text" },
  span: { first: "Question", second: "Text with the answer" },
};

const at = (id) => document.getElementById(id);
let model = null;

async function use(bytes, name, keep) {
  at("problem").hidden = true;
  try {
    model = await Model.load(bytes);
  } catch (error) {
    if (!(error instanceof BertError)) throw error;
    at("problem").textContent = `${name}: ${error.message}`;
    at("problem").hidden = false;
    return;
  }
  const size = (model.bytes / 1e6).toFixed(2);
  at("model").textContent =
    `${name}: ${model.head}, ${size} MB, texts of ${model.maxLength} tokens` + (model.vectors ? "" : ", without vectors");
  const fields = FIELDS[model.head] ?? { first: "Text" };
  at("first-name").textContent = fields.first;
  at("second-name").textContent = fields.second ?? "";
  at("second-field").hidden = !fields.second;
  at("ask").hidden = false;
  at("first").focus();
  answer();
  if (keep) await store(bytes, name);
}

function answer() {
  const [first, second] = [at("first").value, at("second").value];
  at("answer").hidden = model === null || first.trim() === "";
  if (at("answer").hidden) return;
  const start = performance.now();
  const found = ask(first, second);
  const micros = (performance.now() - start) * 1000;
  show(found, model.head === "span" ? second : first);
  const cut = found.truncated ? ", longer than the model reads: the end is cut" : "";
  const tokens = found.tokens ? `${found.tokens} tokens in ` : "";
  at("note").textContent = `${tokens}${(micros / 1000).toFixed(2)} ms${cut}`;
}

function ask(first, second) {
  switch (model.head) {
    case "classify":
      return model.classify(first);
    case "pair":
      return model.classify(first, second);
    case "multi-label":
      return model.classifyLabels(first);
    case "tag":
    case "joint":
      return model.tag(first);
    case "span": {
      const { answer, answers, noAnswerProbability } = model.answer(first, second);
      const probabilities = answers.map(({ text, probability }) => ({ label: text, probability }));
      return { probabilities, noAnswerProbability, spans: answer ? [{ ...answer, name: "answer" }] : [] };
    }
    case "regress":
      return model.regress(first);
    default:
      return model.embed(first);
  }
}

function show({ probabilities = [], labels, spans, values, vector }, text) {
  const wanted = new Set((labels ?? []).map(({ label }) => label));
  const best = [...probabilities].sort((a, b) => b.probability - a.probability).slice(0, SHOWN_LABELS);
  at("labels").replaceChildren(
    ...best.map(({ label, probability }) => {
      const row = document.createElement("tr");
      row.classList.toggle("wanted", wanted.has(label));
      const meter = document.createElement("meter");
      meter.value = probability;
      for (const content of [label, meter, `${(probability * 100).toFixed(1)} %`]) {
        row.insertCell().append(content);
      }
      return row;
    }),
  );
  at("words").replaceChildren(...(spans ? marked(text, spans) : []));
  const numbers = values ?? vector ?? [];
  const listed = Array.from(numbers.slice(0, SHOWN_NUMBERS), (value) => value.toFixed(4));
  const more = numbers.length > SHOWN_NUMBERS ? ` … (${numbers.length})` : "";
  at("numbers").textContent = listed.join("  ") + more;
}

// The text with its spans coloured, a colour a name.
function marked(text, spans) {
  const parts = [];
  let from = 0;
  for (const { start, end, name } of spans) {
    const mark = document.createElement("mark");
    mark.style.setProperty("--hue", hue(name));
    mark.dataset.name = name;
    const small = document.createElement("small");
    small.append(name);
    mark.append(text.slice(start, end), small);
    parts.push(text.slice(from, start), mark);
    from = end;
  }
  return [...parts, text.slice(from)];
}

function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 4096;
  // Steps of the golden angle lie far apart.
  return Math.round((sum * 137.508) % 360);
}

// The model stays in the browser, so that the page answers offline the next time.
async function store(bytes, name) {
  if (!("caches" in window)) return;
  const cache = await caches.open(STORE);
  await cache.put("model", new Response(bytes, { headers: { "x-name": encodeURIComponent(name) } }));
}

async function restore() {
  if (!("caches" in window)) return;
  const kept = await (await caches.open(STORE)).match("model");
  if (kept) await use(await kept.arrayBuffer(), decodeURIComponent(kept.headers.get("x-name")), false);
}

async function useFile(file) {
  if (file) await use(await file.arrayBuffer(), file.name, true);
}

at("file").addEventListener("change", (event) => useFile(event.target.files[0]));
at("first").addEventListener("input", answer);
at("second").addEventListener("input", answer);
for (const kind of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") useFile(event.dataTransfer.files[0]);
  });
}
if ("serviceWorker" in navigator) await navigator.serviceWorker.register("sw.js");
await restore();
document.documentElement.dataset.ready = "yes";
