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
    lede: "Begin a text; a small language model writes on. It runs in this tab, on your own device, and nothing you write leaves it.",
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
    first: "First, the model: {offered}.",
    fetches: "Your browser fetches {size} once, from this site, and keeps it for the next time.",
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

  /** For each code of an error, what happened and what a person can do next. */
  errors: { ...sentences },
};

/** What every language has to say. */
export type Words = typeof en;
