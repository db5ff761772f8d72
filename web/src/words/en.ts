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

  update: {
    label: "New version",
    here: "A new version of this page is here.",
    reload: "Reload",
  },

  /** The passphrase of what is kept. */
  vault: {
    title: "A passphrase for what is kept",
    offer:
      "Without one, whoever can use this computer's account can read what is kept in this browser. With one, your voices, what they are learned from, and your drafts are sealed while they lie here. Models are not: they are the same for everybody.",
    insecure: "The browser encrypts only on pages that come over HTTPS.",
    passphrase: "Passphrase",
    again: "Once more",
    current: "Passphrase so far",
    next: "New passphrase",
    show: "Show",
    advice: "Four or five words that nobody would guess are best.",
    tooShort: "Too short yet: at least 8 letters.",
    weak: "Easy to guess.",
    fair: "Not easy to guess.",
    strong: "Hard to guess.",
    differs: "The two are not the same. Type the passphrase once more.",
    warning: "Write it down somewhere safe: nobody can recover it, and without it what is sealed is gone.",
    set: "Set the passphrase",
    sealing: "Sealing what is kept …",
    isSet: "What is kept here is sealed from now on.",
    sealed: "What is kept here is sealed.",
    since: (day: string) => `The passphrase is of ${day}.`,
    lock: "Lock now",
    change: "Change the passphrase",
    doChange: "Change it",
    changing: "Changing the passphrase …",
    isChanged: "The passphrase is changed.",
    remove: "Remove the passphrase",
    removeAdvice: "What is kept then lies here as readable as before.",
    doRemove: "Remove it",
    opening: "Opening what is kept …",
    isRemoved: "The passphrase is removed.",
    above: "What is kept here is locked. Unlock it at the top of the page.",
    ask: "What is kept in this browser is locked.",
    unlock: "Unlock",
    unlocking: "Unlocking …",
    lost: "The passphrase is lost",
    lostAdvice:
      "Nobody can open it without the passphrase: not we, not the browser. If it will not come back, all you can do is forget everything that is kept here (voices, texts, drafts, models) and begin anew. An exported voice can be imported again.",
    forget: "Forget everything",
    sure: "Really everything?",
    forgetting: "Forgetting …",
  },

  /** What leaves this page. */
  requests: {
    title: "What leaves this page",
    none: "The browser does not tell this page of its requests.",
    allHere: (requests: string, host: string, size: string) =>
      `Nothing but requests for its own files: ${requests} so far, all to ${host}, the site it comes from. ${size} came back.`,
    elsewhere: (requests: string, hosts: string, size: string) =>
      `Of ${requests} requests for files so far, some went to another site: ${hosts}. ${size} came back.`,
    bare: "Each address is the name of a file and nothing more.",
    queries: (requests: string) => `${requests} addresses carry more than the name of a file; see below.`,
    list: "Every request since it was loaded",
    label: "Requests",
    what: "What",
    kind: "Kind",
    by: "Asked for by",
    received: "Came over the network",
    thePage: "this page",
    page: "page",
    script: "script",
    style: "style",
    picture: "picture",
    file: "file",
    byPage: "the page",
    byWorker: "the model's worker",
    byServiceWorker: "the service worker",
    kept: "was here already",
    sight:
      "This is what the browser tells the page: requests of the page itself, of the workers that run the model, and of the service worker since it woke. It does not tell of browser extensions. To see for yourself, open the browser's developer tools at Network, or pull the plug: everything but a first download works without.",
    rules: "The rules the browser holds it to",
    policy:
      "Whatever the program tried, the browser would let this page connect to its own site only, run only scripts that lie there as files, and turn no text into markup or script.",
  },

  /** For each code of an error, what happened and what a person can do next. */
  errors: { ...sentences },
};

/** What every language has to say. */
export type Words = typeof en;
