import { sentences } from "../errors.js";

/**
 * Everything that the page says, in English: one section a room or element.
 *
 * A sentence that needs to be told something is a function. `{name}` in a text is the place of a child of the element it
 * stands in; see `fill`.
 */
export const en = {
  language: {
    name: "English",
    dir: "ltr",
    label: "Language",
  },

  shell: {
    description:
      "A language model that writes on in your browser, on your own computer. Nothing you write leaves it.",
    places: "Places",
    write: "Write",
    voice: "Voice",
    library: "Library",
    title: (place: string) => `${place} · Imprint`,
    needsScript: "Imprint computes on this page and needs JavaScript to do so.",
    licences: "What Imprint is made of",
  },

  /** Counts, sizes and times. */
  format: {
    million: (value: string) => `${value} million`,
    billion: (value: string) => `${value} billion`,
    moment: "a moment",
    seconds: (value: number) => `about ${value} s`,
    minutes: (value: number) => `about ${value} min`,
  },

  model: {
    offerLabel: "Load a model",
    first: "A small language model that writes on where you stop, in your own voice once you teach it.",
    offered: "The model is {offered}.",
    fetches:
      "Your browser fetches its {size} once, from this site, and keeps it; nothing you write ever leaves this device.",
    sample: "Try a sample voice",
    unknownSize: "a file of unknown size",
    load: "Load the model",
    back: "Back",
    others: "Another model, another device",
    runOn: "Run on",
    auto: "the GPU, if there is one",
    webgpu: "the GPU only",
    cpu: "the processor",
    file: "A GGUF file of yours",
    fileHint: "It is read where it lies; nothing is uploaded or copied.",
    forget: "Forget the stored model",
    forgotten: "Forgotten",
    gone: "The stored model is gone from this browser.",
    loadingLabel: "Loading",
    loading: "Loading the model",
    cancel: "Cancel",
    stopping: "Stopping",
    readyLabel: "The model",
    change: "Change",
    reading: "Reading the model from this browser",
    download: "Downloading the model",
    verify: "Checking the file",
    unpack: "Unpacking the model",
    compile: "Warming up",
    ready: "Ready",
    percent: (title: string, percent: number) => `${title}, ${percent} percent`,
    of: (done: string, total: string) => `${done} of ${total}`,
    left: (time: string) => `${time} left`,
    yours: "Your model",
    parameters: (count: string) => `${count} parameters`,
    onGpu: "Runs on the GPU",
    onProcessor: "Runs on the processor",
    readyOnGpu: "The model is ready and runs on the GPU.",
    readyOnProcessor: "The model is ready and runs on the processor.",
  },

  /** The sheet. */
  draft: {
    label: "Your text",
    placeholder: "The first time I saw the sea,",
    continue: "Continue",
    stop: "Stop",
    ways: "Another way",
    waysDone: "Three ways are written.",
    keepMine: "Leave it as it is",
    take: "Take this",
    takeWay: (number: number) => `Take this, way ${number}`,
    back: "Take back",
    suggest: "Suggest",
    passage: "The selected passage",
    mine: "In my words",
    shorter: "Shorter",
    longer: "Longer",
    accept: "Accept",
    refuse: "Refuse",
    same: "The model found no other words for it.",
    differenceDone: "Another version is written: accept or refuse it.",
    suggestion: "The suggestion",
    takeAll: "Take it",
    takeWord: "A word",
    drop: "Drop",
    suggested: (text: string) => `Suggested: ${text}`,
    suggesting: "Suggest words at the cursor",
    suggestingHint: "in grey, until you take them",
    never: "never",
    onKey: "on Alt+Enter",
    onPause: "when I pause",
    strength: (voice: string) => `Strength of ${voice}`,
    strengthHint: "0 is the model's average, 1 the voice as learned, 3 more you than you",
    keys: "{ctrl} or {cmd} with {enter} writes on, {alt} with {return} suggests words, {esc} stops.",
    loadFirst: "Load the model to continue.",
    learning: "The model is learning; it writes again when that is done or stopped.",
    begin: "Write a few words to begin.",
    writing: "Writing.",
    stopped: "Stopped.",
    endings: {
      end: "The model came to its end.",
      stop: "Stopped at one of your strings.",
      length: "Reached the length you set.",
      context: "The text has become as long as the model can read at once.",
    },
    reading: (done: string, all: string) => `Reading your text: ${done} of ${all} tokens`,
    counts: (read: string, written: string) => `${read} tokens read, ${written} written`,
    speed: (rate: string) => `${rate} tokens/s`,
    copies: "From your texts, word for word:",
    count: (value: number, count: string) => (value === 1 ? "1 word" : `${count} words`),
    share: (percent: number) => `${percent} % yours`,
  },

  /** The drafts that are kept. */
  drafts: {
    title: "Drafts",
    create: "New draft",
    delete: "Delete",
    deleteNamed: (title: string) => `Delete ${title}`,
    restore: "Bring it back",
    gone: (title: string) => `“${title}” is gone.`,
    untitled: "Without a title",
    facts: (length: string, day: string) => `${length} · ${day}`,
    kept: "Drafts are kept in this browser only, and save themselves.",
    opened: (title: string) => `Opened: ${title}.`,
    created: "A new, empty draft.",
    copied: "Another tab changed this draft, so yours goes on as a copy of its own.",
  },

  /** Texts of others to try first. */
  samples: {
    label: "Sample voices",
    lede: "No text of yours at hand? Try a voice that everybody knows first.",
    austen: "Jane Austen, 1813",
    melville: "Herman Melville, 1851",
    taken: (name: string) => `The text of ${name} stands below; give the voice a name and press Learn.`,
  },

  /** The settings of writing. */
  sampling: {
    title: "How it writes",
  },

  /** For each code of an error, what happened and what a person can do next. */
  errors: { ...sentences },
};

/** What every language has to say. */
export type Words = typeof en;
