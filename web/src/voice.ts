/** The shapes of learning: what it is told, what it tells, what it leaves. */

/** The one dial: how far a text is learned. Everything else follows from it and the text's length. */
export type Effort = "light" | "normal" | "deep";

/** A projection that can be adapted, by its name on the hub. */
export type Projection = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** How an adapter is learned; each value left out is derived from the effort and the text's length. */
export type Recipe = {
  /** Width of the low-rank path (8), whose weight is `alpha / rank`; alpha follows the rank unless set. */
  rank?: number;
  alpha?: number;
  /** Which projections are adapted (all). */
  kinds?: Projection[];
  /** Highest learning rate, the steps in which it is reached, and the share of it at which learning ends. */
  rate?: number;
  warmup?: number;
  floor?: number;
  /** Times that the text is read. */
  passes?: number;
  /** Tokens of a window, and windows of a step. */
  window?: number;
  accumulation?: number;
  /** Largest norm of a step's gradients. */
  clip?: number;
  /** The numbers of AdamW. */
  beta1?: number;
  beta2?: number;
  eps?: number;
  decay?: number;
  /** The same seed, text and device give the same adapter (0). */
  seed?: number;
  /** Passes between two measurements on the held-out text (0.25). */
  interval?: number;
  /** Share of the best gain that the fullest state still holds (0.85). */
  hold?: number;
  /** Learning ends when previews copy a larger share than this (0.02). */
  copying?: number;
};

/** A text to learn from: pasted, or a file of plain text, Markdown or HTML, of which the readable text counts. */
export type TextInput = string | Blob | { name?: string; text: string };

/** How learning is called: the numbers of the recipe stand among the options, or come together as `recipe`. */
export type LearnOptions = Recipe & {
  /** What the adapter will be called ("Untitled"). */
  name?: string;
  effort?: Effort;
  /** Such as another adapter's; a number among the options goes before one of it. */
  recipe?: Recipe | null;
  /** Whether the texts stay in this browser, beside the adapter, when the run has ended (false). */
  keepTexts?: boolean;
};

/** A text as it goes to the engine; the name's ending tells what it is written in. */
export type Document = { name: string; bytes: Uint8Array<ArrayBuffer> };

/** Texts, words and tokens of a kind. */
export type Counts = {
  documents: number;
  passages: number;
  words: number;
  characters: number;
  tokens: number;
};

/** What was found in the texts, and what of it is left out. */
export type TextCounts = {
  learned: Counts;
  heldOut: Counts;
  /** What was left out, with the reason as a sentence. */
  dropped: { reason: string; sentence: string; pieces: number; characters: number }[];
  /** Documents that could not be read, and why. */
  problems: { name: string; problem: string }[];
};

/** What learning from a text would do. */
export type LearnPlan = {
  counts: TextCounts;
  /** The numbers it would learn with, all of them. */
  recipe: Required<Recipe>;
  steps: number;
  /** Memory that it takes beside the model, about. */
  memoryBytes: number;
};

/** How much of a written text stands word for word in the text learned from. */
export type Copied = {
  /** Share of its runs of eight words that stand there. */
  share: number;
  /** Words of the longest run that stands there. */
  longest: number;
};

/** A name of the text learned from that the base would hardly write, and how often it was written. */
export type CountedName = { word: string; count: number };

/** A short continuation by the adapter as it stands. */
export type Preview = { prompt: string; text: string; copied: Copied; names: CountedName[] };

/** The loss of a step: mean negative log-likelihood of a token, in nats. */
export type Loss = { step: number; nll: number };

/** The held-out text as the adapter foresaw it at one time. */
export type Measurement = {
  /** Steps made before it; 0 is the model without an adapter. */
  step: number;
  /** Mean negative log-likelihood of a token, in nats. */
  nll: number;
  bitsPerChar: number;
  /** Share of eight-word runs in previews that stand in the text. */
  copied?: number;
};

/** How far learning has come; a few a second. */
export type LearnProgress = {
  /** Reading the texts, measuring the held-out text, learning, writing a preview, keeping the result. */
  phase: "read" | "measure" | "learn" | "preview" | "save";
  /** The run's id, under which it can be resumed. */
  run: string;
  step: number;
  /** Steps planned. */
  steps: number;
  /** What is new since the last report; the first report of a resumed run brings all of it. */
  losses: Loss[];
  measurements: Measurement[];
  /** Tokens learned a second. */
  tokensPerS: number;
  /** Seconds to the planned end; learning may end before. */
  secondsLeft: number;
  /** With the first report. */
  counts?: TextCounts;
  /** Now and then. */
  preview?: Preview;
};

/** Why learning ended: as planned, for want of further gain, or because copying began. */
export type Ending = "planned" | "faded" | "copying";

/** What was measured while an adapter was learned. */
export type Measures = {
  ending: Ending;
  /** Steps made, and tokens of text to learn from. */
  steps: number;
  tokens: number;
  /** Without an adapter, in the state that foresees the held-out text best, and in the fullest one, which is used. */
  before: Measurement;
  best: Measurement;
  fullest: Measurement;
  /** Copying in the last preview, and beside it in the author's own held-out text. */
  copied?: Copied;
  ownCopied?: Copied;
  /** Names in the last preview. */
  names?: CountedName[];
};

/** An adapter kept in this browser. */
export type AdapterInfo = {
  id: string;
  name: string;
  /** Milliseconds since 1970. */
  createdMs: number;
  updatedMs: number;
  /** The fingerprint of the model it belongs to, and that model's name. */
  base: string;
  model: string;
  sizeBytes: number;
  /** Bytes of the texts kept beside it: see `keepTexts`. */
  textBytes: number;
  /** Whether prints of its text are kept with it, by which copies and names are told; they hold no text but names. */
  prints: boolean;
  /** Null for one that was imported without. */
  recipe: Recipe | null;
  measures: Measures | null;
};

/** A run of learning that can go on. */
export type RunInfo = {
  id: string;
  name: string;
  createdMs: number;
  updatedMs: number;
  base: string;
  model: string;
  /** Steps made by its latest checkpoint, and steps planned. */
  step: number;
  steps: number;
  losses: Loss[];
  measurements: Measurement[];
  /** The SHA-256 of its texts in hex. */
  textHash: string;
  /** Bytes of its checkpoint and of its texts, which are kept until it ends. */
  sizeBytes: number;
  /** Whether its texts stay when it has ended. */
  keepTexts: boolean;
};

/** How a command of learning ends: with an adapter, or with a run that can go on. */
export type Learned = { state: "done"; adapter: AdapterInfo } | { state: "paused"; run: RunInfo };

/** An adapter among several that speak at once, and how much it weighs among them: from 0 to 2. */
export type Weighed = { id: string; weight: number };

/**
 * What is written with: an adapter by its id, several at once, or none.
 *
 * Several add up what each of them changes, times its weight; weights that add up to 1 are as loud as one voice alone. At
 * most 8, and on the GPU of rank 128 together.
 */
export type AdapterUse = string | readonly Weighed[] | null;

/** How an adapter, or several at once, take part in writing. */
export type Voice = {
  /** 0 is the base alone, 1 the adapter as it was learned, more carries the voice further (1.5). */
  strength?: number;
  /** `contrast` weighs base against adapter at every token; `scale` scales the adapter, at no cost. */
  mode?: "contrast" | "scale";
  /** Which of its two states: the fullest (the default) or the one that foresees the held-out text best. */
  state?: "fullest" | "best";
};

/** An adapter's files in PEFT's layout, and the prints of its text where there are some. */
export type AdapterFiles = {
  config: string;
  weights: Uint8Array<ArrayBuffer>;
  prints?: Uint8Array<ArrayBuffer>;
};

/** What is kept in this browser, in bytes. */
export type StorageUsage = {
  modelsBytes: number;
  adaptersBytes: number;
  runsBytes: number;
  /** What the browser counts for the whole origin and what it allows, where it tells. */
  usedBytes?: number;
  quotaBytes?: number;
  /** Whether the browser has promised not to throw it away by itself. */
  persisted: boolean;
  /** Whether a passphrase locks adapters and runs: what they take is then unknown, and told as 0. */
  locked: boolean;
};
