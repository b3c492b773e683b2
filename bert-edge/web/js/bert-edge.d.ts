/** What a model answers; `Model.head` says which. */
export type Head =
  | "classify"
  | "tag"
  | "joint"
  | "pair"
  | "regress"
  | "span"
  | "embed"
  | "multi-label"
  | "unknown";

/** How much of a text was read. */
export interface Extent {
  /** Tokens that were read, [CLS] and [SEP] included. */
  tokens: number;
  /** Whether the text was longer than the model reads, and cut. */
  truncated: boolean;
}

/** A label and its probability. */
export interface Label {
  label: string;
  probability: number;
}

/** The most probable label, and all of them in the order of `Model.labels`. */
export interface Classification extends Label, Extent {
  probabilities: Label[];
}

/** The labels above the threshold, and all of them. */
export interface Labels extends Extent {
  labels: Label[];
  probabilities: Label[];
}

/** A part of a text: `text.slice(start, end)`. */
export interface Part {
  text: string;
  /** Its first UTF-16 unit. */
  start: number;
  /** The unit after it. */
  end: number;
  probability: number;
}

/** A word with its tag, such as `B-room`. */
export interface Word extends Part {
  tag: string;
}

/** Words that belong together, such as `room`: "living room". */
export interface Span extends Part {
  name: string;
}

/** Tags of a text; of a joint model also its label. */
export interface Tagging extends Extent {
  label?: string;
  probability?: number;
  probabilities?: Label[];
  words: Word[];
  spans: Span[];
}

/** A part of the context that may be the answer. */
export interface Answer extends Part {
  /** Logit of its first token plus logit of its last. */
  score: number;
}

/** Answers to a question. */
export interface Answers {
  /** The best, or null where the question has none. */
  answer: Answer | null;
  /** The best first. */
  answers: Answer[];
  noAnswerProbability: number;
}

export interface AnswerOptions {
  /** How many answers, at most 20; 3 if not given. */
  count?: number;
  /** Tokens that neighbouring windows over a long context share; 128 if not given. */
  stride?: number;
  /** Tokens of an answer at most; 30 if not given. */
  maxAnswerTokens?: number;
  /** By how much no answer must score higher to be the answer; if not given every question has one. */
  noAnswerThreshold?: number;
}

export interface LoadOptions {
  /** Which of the two modules; what the browser can do decides if not given. The bits are the same. */
  vectors?: boolean;
  /** The module itself, or where it is, in place of the two beside this file. */
  module?: WebAssembly.Module | string | URL;
}

/** Why a file or a text was refused. */
export class BertError extends Error {}

/** Whether the module with vectors runs here. */
export function hasVectors(): boolean;

/** A model that answers. It has a WebAssembly memory of its own, which goes when the model does. */
export class Model {
  private constructor();

  /**
   * Loads a model file (`bert-trainer export` writes them), checks every byte and lets it test itself.
   *
   * @throws BertError if it is no model file, was changed, or does not answer as it promises.
   */
  static load(
    source: string | URL | ArrayBuffer | Uint8Array | Blob | Response,
    options?: LoadOptions,
  ): Promise<Model>;

  readonly head: Head;
  /** Labels of a text, in the order of their numbers. */
  readonly labels: string[];
  /** Tags of a word. */
  readonly tags: string[];
  /** Tokens of a text at most. */
  readonly maxLength: number;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Whether the module with vectors answers. */
  readonly vectors: boolean;

  /** The label of a text, or of two where the head is `pair`. */
  classify(text: string, second?: string): Classification;
  /** The labels of a text, where the head is `multi-label`; the threshold is 0.5 if not given. */
  classifyLabels(text: string, options?: { threshold?: number }): Labels;
  /** Tags of the words of a text, where the head is `tag` or `joint`. */
  tag(text: string): Tagging;
  /** Answers to a question in a context, where the head is `span`. */
  answer(question: string, context: string, options?: AnswerOptions): Answers;
  /** The numbers of a text or of two, where the head is `regress`. */
  regress(text: string, second?: string): { values: number[] } & Extent;
  /** The vector of a text, of length 1 unless `normalize` is false; every model has one. */
  embed(text: string, options?: { normalize?: boolean }): { vector: Float32Array } & Extent;
}
