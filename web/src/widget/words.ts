/** What `<imprint-writer>` says; apart from the page's words, which a reader of a blog need not fetch. */
const en = {
  frame: "Text by a language model",
  opening: "The opening",
  placeholder: "The first time I saw the sea,",
  start: "Write on in this voice",
  suggest: "Suggest words as I write",
  fetch: "Fetch and write",
  accept: "I accept",
  terms: (name: string) => `${name}, the model, comes with terms that you accept by using it:`,
  notNow: "Not now",
  stop: "Stop",
  cancel: "Cancel",
  another: "Another way",
  copy: "Copy",
  copied: "Copied",
  take: "Take",
  drop: "Drop",
  off: "Suggest no more",
  about: "Written by a small language model on your own device. Nothing you type is sent anywhere.",
  fetches: (size: string, from: string) =>
    `Pressing it fetches ${size} once from ${from}, and keeps it in this browser.`,
  asks: (size: string, from: string) =>
    `For this, ${size} must be fetched once from ${from}. They stay in this browser for the next time.`,
  unknownSize: "files of unknown size",
  model: "The model",
  adapter: "The voice",
  download: "is being fetched",
  cached: "is read from this browser",
  verify: "is being checked",
  load: "is being unpacked",
  compile: "is warming up",
  ready: "is ready",
  amount: (done: string, total: string) => `${done} of ${total}`,
  loading: "Loading.",
  writing: "Writing.",
  stopped: "Stopped.",
  done: (words: string) => `Done: ${words} ${words === "1" ? "word" : "words"}.`,
  suggestion: (text: string) => `Suggestion: ${text}`,
  keys: "Tab takes it, Ctrl or ⌘ with → a word, Esc drops it.",
  nothing: "Write a few words first.",
  onGpu: "Runs on your GPU.",
  onCpu: "Runs on your processor.",
  unreachable: "The program that writes could not be fetched. Check the connection and press again.",
  noField: (id: string) => `the page holds no textarea with the id \`${id}\``,
  noModel: "the attribute `model` is missing: it names the address of a GGUF file",
  notHere: (origin: string) =>
    `This page is not allowed inside one of ${origin}. Whoever runs it can name that site in its embed.html.`,
  badNumber: (name: string, value: string) => `\`${name}\` is \`${value}\`, which is no number it can be`,
};

/** The words of one language. */
export type WidgetWords = typeof en;

const de: WidgetWords = {
  frame: "Text von einem Sprachmodell",
  opening: "Der Anfang",
  placeholder: "Als ich zum ersten Mal das Meer sah,",
  start: "In dieser Stimme weiterschreiben",
  suggest: "Beim Schreiben Wörter vorschlagen",
  fetch: "Holen und schreiben",
  accept: "Ich nehme sie an",
  terms: (name) => `${name}, das Modell, kommt mit Bedingungen, die du annimmst, wenn du es benutzt:`,
  notNow: "Jetzt nicht",
  stop: "Anhalten",
  cancel: "Abbrechen",
  another: "Anders",
  copy: "Kopieren",
  copied: "Kopiert",
  take: "Nehmen",
  drop: "Verwerfen",
  off: "Nichts mehr vorschlagen",
  about:
    "Geschrieben von einem kleinen Sprachmodell auf deinem eigenen Gerät. Nichts, was du tippst, wird irgendwohin gesendet.",
  fetches: (size, from) =>
    `Ein Druck darauf holt einmal ${size} von ${from} und hebt sie in diesem Browser auf.`,
  asks: (size, from) =>
    `Dafür müssen einmal ${size} von ${from} geholt werden. Sie bleiben fürs nächste Mal in diesem Browser.`,
  unknownSize: "Dateien unbekannter Größe",
  model: "Das Modell",
  adapter: "Die Stimme",
  download: "wird geholt",
  cached: "wird aus diesem Browser gelesen",
  verify: "wird geprüft",
  load: "wird ausgepackt",
  compile: "wird warm",
  ready: "ist bereit",
  amount: (done, total) => `${done} von ${total}`,
  loading: "Wird geladen.",
  writing: "Schreibt.",
  stopped: "Angehalten.",
  done: (words) => `Fertig: ${words} ${words === "1" ? "Wort" : "Wörter"}.`,
  suggestion: (text) => `Vorschlag: ${text}`,
  keys: "Tab nimmt ihn, Strg oder ⌘ mit → ein Wort, Esc verwirft ihn.",
  nothing: "Schreib erst ein paar Wörter.",
  onGpu: "Rechnet auf deiner Grafikkarte.",
  onCpu: "Rechnet auf deinem Prozessor.",
  unreachable:
    "Das Programm, das schreibt, war nicht zu erreichen. Prüf die Verbindung und drück noch einmal.",
  noField: en.noField,
  noModel: en.noModel,
  notHere: (origin) =>
    `Diese Seite darf nicht in einer von ${origin} stehen. Wer sie betreibt, kann diese Website in ihrer embed.html nennen.`,
  badNumber: en.badNumber,
};

/** The language of an element, from the nearest `lang`: English where it is none that the writer speaks. */
export function languageOf(element: Element): "en" | "de" {
  const tag = element.closest("[lang]")?.getAttribute("lang") ?? document.documentElement.lang;
  return /^de\b/i.test(tag) ? "de" : "en";
}

/** The words of a language. */
export function wordsOf(language: "en" | "de"): WidgetWords {
  return language === "de" ? de : en;
}
