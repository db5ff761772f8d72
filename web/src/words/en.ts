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
    docs: "How it works, in full",
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
    fileHint: "It is read where it lies; nothing is uploaded or copied. You can drop it here, too.",
    which: "Model",
    fetchesFrom: (size: string, host: string) =>
      `Your browser fetches its ${size} once, from ${host}, and keeps it; nothing you write ever leaves this device.`,
    keptHere: "It is kept in this browser; nothing you write ever leaves this device.",
    isFile: "It is read where it lies, each time you choose it; nothing you write ever leaves this device.",
    needs: (gpu: string, processor: string) => `needs ${gpu} on the GPU or ${processor} on the processor`,
    unfit: {
      memory: (need: string, have: string) =>
        `It does not fit this device: it needs ${need} of memory, and there are ${have} in all. Choose a smaller model.`,
      page: (need: string, have: string) =>
        `It does not fit a page: on the processor it needs ${need} of memory, and a page has ${have}. Choose a smaller model.`,
      gpu: (need: string, have: string) =>
        `It does not fit this GPU: one piece of it has ${need}, and the GPU takes ${have} at once. Run it on the processor, or choose a smaller model.`,
      storage: (need: string, have: string) =>
        `It does not fit this browser's storage: it has ${need}, and there is room for ${have}. Forget another model, or free some space.`,
    },
    noGpu: "This browser offers no usable GPU. Run it on the processor.",
    runsNowhere: (reason: string) => `It does not run here: ${reason}`,
    whence: (name: string) =>
      `${name} is not on this site. Drop its file here, or name an address that it can be fetched from.`,
    missing: (name: string, hash: string) =>
      `That voice belongs to the model ${name} (SHA-256 ${hash}…), which is neither kept here nor on this site. Drop its file here, or name an address that it can be fetched from.`,
    terms: (name: string) => `${name} comes with terms that you accept by using it:`,
    accept: "I accept",
    isOpen: "open now",
    isKept: "kept here",
    notHere: "not on this site",
    voices: (names: string) => `voices: ${names}`,
    address: "From an address",
    addressHint: "Its first bytes tell what it is; nothing more is fetched before you load it.",
    look: "Look at it",
    looking: "Looking …",
    pin: "Hold it to a hash",
    hash: "SHA-256 of the file",
    hashHint: "Without one, what the address gives first is what it is held to.",
    takeNew: "Take the new file",
    noAddress: "the address must begin with https:// or http://",
    noHash: "a SHA-256 has 64 digits from 0 to 9 and a to f",
    forbidden: (host: string) =>
      `this page may not fetch from ${host}: its Content-Security-Policy names the sites it may connect to (connect-src), and only the owner of this site can add one; download the file yourself and drop it here`,
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
    since: (day: string) => `Since ${day}.`,
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
    ask: "What is kept in this browser is locked. What you write meanwhile is kept once you unlock it.",
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
    thePage: "this page",
    page: "page",
    script: "script",
    style: "style",
    picture: "picture",
    file: "file",
    byPage: "asked for by the page",
    byWorker: "asked for by the model's worker",
    byServiceWorker: "asked for by the service worker",
    kept: "was here already",
    sight:
      "This is what the browser tells the page: requests of the page itself, of the workers that run the model, and of the service worker since it woke. It does not tell of browser extensions. To see for yourself, open the browser's developer tools at Network, or pull the plug: everything but a first download works without.",
    rules: "The rules the browser holds it to",
    policy:
      "Whatever the program tried, the browser would let this page connect to its own site only, run only scripts that lie there as files, and turn no text into markup or script.",
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
    none: "None yet. What you write on the sheet is kept here by itself.",
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

  /** Teaching a voice. */
  teacher: {
    title: "Teach it a voice",
    texts: "Texts to learn from",
    placeholder:
      "Paste what you have written: letters, posts, chapters. Ten pages are a good start. Or drop .txt, .md and .html files here.",
    files: "Files",
    effort: "How thoroughly",
    light: "Light",
    lightHint: "one pass",
    normal: "Normal",
    normalHint: "about two passes",
    deep: "Deep",
    deepHint: "about three passes",
    keep: "Keep these texts beside the voice, in this browser. Otherwise they go when learning ends.",
    name: "Name of the voice",
    unnamed: "My voice",
    learn: "Learn",
    running: "Learning",
    pause: "Pause",
    resume: "Go on",
    cancel: "Cancel",
    result: "What was learned",
    another: "Teach it another",
    remove: "Remove",
    removeNamed: (name: string) => `Remove ${name}`,
    loadFirst: "Load the model first: it does the learning.",
    phases: {
      read: "Reading your texts",
      measure: "Measuring on the text held out",
      learn: "Learning",
      preview: "Trying the voice",
      save: "Saving",
    },
    stopped: "Stopped; nothing was saved.",
    pausing: "Pausing",
    saving: "The state is being saved.",
    paused: "Paused",
    pausedAdvice: "Saved in this browser: go on now, or after closing the page.",
    pausedSaved: "Paused and saved.",
    goesOn: "Learning goes on.",
    found: (words: string, passages: string, tokens: string, heldOut: string) =>
      `${words} words in ${passages} passages to learn from (${tokens} tokens), ${heldOut} words held out to measure on.`,
    plan: (steps: string, memory: string) => `${steps} steps, with ${memory} of memory beside the model.`,
    step: (step: string, steps: string) => `step ${step} of ${steps}`,
    learned: (name: string, verdict: string) => `The voice ${name} is learned and saved. ${verdict}`,
    notMeasured: "It came from a file; nothing was measured here.",
    verdict: (gain: string, after: string, before: string) =>
      `It predicts your held-out text ${gain} % better than the base model: ${after} bits a character, ${before} before.`,
    copiesNothing: (longest: string) =>
      `It copies nothing: its longest run from your texts has ${longest} words.`,
    copies: (share: string, longest: string) =>
      `${share} of its eight-word runs stand in your texts; the longest has ${longest} words.`,
    ownCopied: (share: string, longest: string) =>
      `Of your own held-out text it is ${share}, the longest ${longest} words.`,
    often: (word: string, times: string) => `${word} (${times} times)`,
    names: (names: string) => `Names from your texts in it: ${names}.`,
    endings: {
      planned: (steps: string) => `It learned all ${steps} planned steps.`,
      faded: (steps: string) => `It stopped after ${steps} steps: more brought nothing.`,
      copying: (steps: string) => `It stopped after ${steps} steps, before it would copy.`,
    },
    loss: {
      step: "Step",
      learning: "While learning",
      heldOut: "Held-out text",
      nothing: "Nothing measured yet.",
      steps: (steps: string) => `Loss over ${steps} steps.`,
      measured: (from: string, to: string) => `On the text held out: ${from} at first, ${to} now.`,
    },
  },

  /** The base model beside a voice. */
  comparison: {
    title: "Hear the difference",
    opening: "An opening to continue",
    compare: "Compare",
    halt: "Stop",
    base: "The base model",
    theirs: (name: string) => `In the voice ${name}`,
    done: "Both are written.",
  },

  /** The voices that are kept. */
  voices: {
    title: "Voices",
    empty:
      "The model writes like everybody and nobody. Teach it a voice: paste what you have written, and it learns from it, in this tab.",
    import: "Import a voice",
    importHint:
      "Choose an exported .zip, a .gguf of llama.cpp, or the two files of a PEFT folder together; or drop them here.",
    loadFirst: "Load the model first: a voice is used and imported with the model that it belongs to.",
    imported: (name: string) => `The voice ${name} is imported.`,
    use: "Use",
    stopUsing: "Stop using",
    useNamed: (name: string) => `Use the voice ${name}`,
    belongs: (model: string) => `belongs to ${model}`,
    switch: "Open its model",
    switchNamed: (name: string) => `Open the model of ${name}`,
    writesIn: (name: string) => `Writes in the voice ${name}.`,
    writesPlain: "Writes in the model's own voice.",
    rename: "Rename",
    renameNamed: (name: string) => `Rename ${name}`,
    export: "Export",
    exportNamed: (name: string) => `Export ${name}`,
    delete: "Delete",
    deleteNamed: (name: string) => `Delete ${name}`,
    deleteSure: "Really delete?",
    gone: (name: string) => `The voice ${name} is gone.`,
    state: "State",
    fullest: "the fullest: more of the voice",
    best: "the best measured: predicts it best",
    beside: "Together with",
    nobody: "no other voice",
    both: (one: string, other: string) => `${one} and ${other}`,
    shares: (one: string, first: string, other: string, second: string) =>
      `${first} % ${one}, ${second} % ${other}`,
    untold: (name: string) => `${name} came without prints of its text: copies from it cannot be told.`,
    textsKept: (size: string) => `Its texts are kept: ${size}.`,
    readTexts: "Read",
    hideTexts: "Hide",
    readNamed: (name: string) => `Read the texts of ${name}`,
    textOf: (name: string) => `The texts of ${name}`,
    again: "Learn again",
    againNamed: (name: string) => `Learn again from the texts of ${name}`,
    forgetTexts: "Forget them",
    forgetTextsNamed: (name: string) => `Forget the texts of ${name}`,
    resume: "Go on learning",
    resumeNamed: (name: string) => `Go on learning ${name}`,
    discard: "Discard",
    discardNamed: (name: string) => `Discard the run ${name}`,
    interrupted: (day: string, step: string, steps: string) =>
      `interrupted on ${day} at step ${step} of ${steps}`,
  },

  /** What all of it takes, and forgetting. */
  storage: {
    title: "What it takes, and forgetting",
    nothing: "Nothing is kept in this browser.",
    total: (size: string) => `Kept in this browser: ${size}.`,
    locked: "Voices and unfinished learning are locked and not counted.",
    kinds: {
      models: "Models",
      adapters: "Voices and their texts",
      runs: "Unfinished learning",
      drafts: "Drafts",
      rest: "This page itself, for use offline, and what the browser adds",
    },
    quota: (size: string) => `The browser allows this site ${size} in all.`,
    promised: "The browser promised not to throw it away by itself.",
    notPromised: "The browser may clear it when space runs short: export what matters.",
    ask: "Ask it to promise",
    refused: "It does not promise yet; browsers often do for sites that are used much or installed.",
    models: "Models",
    noModels:
      "None is stored. A model that is fetched from this site is kept here, so that it comes only once.",
    modelFacts: (size: string) => `${size}, fetched again when it is needed after it is forgotten`,
    modelVoices: (names: string) => `Voices that belong to it: ${names}.`,
    forgetModel: "Forget",
    forgetModelNamed: (name: string) => `Forget the model ${name}`,
    forgetModelSure: "Really forget?",
    modelGone: (name: string) => `The model ${name} is gone from this browser.`,
    forget: "Forget everything",
    sureTitle: "Forget everything?",
    sureWhat:
      "All voices, the texts they were learned from, unfinished learning, all drafts, the stored models, the passphrase and your choices on this page are removed from this browser. The draft on the sheet goes too.",
    sureAdvice: "Nobody can bring them back. A voice that you exported before can be imported again.",
    keep: "Keep everything",
    sure: "Forget it all",
    gone: "Everything that was kept in this browser is gone.",
  },

  /** How the author's text, the base model and the voice move. */
  rhythm: {
    title: "How it moves",
    absent:
      "The texts of this voice were not kept, so there is nothing to hold beside it. Keep them when you teach the next one, and they are pictured here.",
    author: "the author",
    base: "the base model",
    sentencesTitle: "How long the sentences are, in words",
    sentencesUnit: "Words",
    wordsTitle: "How long the words are, in letters",
    wordsUnit: "Letters",
    beatTitle: "Sentence after sentence, as high as each has words",
    beatLabel: (name: string, lengths: string) => `Words in each sentence, ${name}: ${lengths}.`,
    table: "The same in figures",
    average: "Average",
    mean: (name: string, mean: string) => `On average ${mean}: ${name}.`,
    measure: "Let both write",
    again: "Let both write again",
    cost: (openings: string, tokens: string) =>
      `The base model and the voice each continue ${openings} plain openings, ${tokens} tokens at most. It can be stopped.`,
    writing: "Writing to be measured",
    of: (tokens: string, all: string) => `${tokens} of ${all} tokens`,
    halt: "Stop writing",
    stopped: "Stopped; what was measured before still stands.",
    done: "Both are written and pictured.",
    unfinished: "Too few sentences were finished to picture them.",
    own: (mean: string, median: string) =>
      `The author's sentences have ${mean} words on average; half of them have ${median} or fewer.`,
    models: (base: string, name: string, voice: string) =>
      `The base model's have ${base}, those of ${name} ${voice}.`,
    likeness: (base: string, name: string, voice: string) =>
      `How often sentences are as long as the author's: the base model agrees in ${base}, ${name} in ${voice}.`,
    few: (base: string, voice: string) =>
      `That is from ${base} finished sentences of the one and ${voice} of the other: a hint, no proof.`,
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
