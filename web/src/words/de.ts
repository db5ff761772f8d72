import type { Words } from "./en.js";

/** Everything that the page says, in German. */
export const de: Words = {
  language: {
    name: "Deutsch",
    dir: "ltr",
    label: "Sprache",
  },

  shell: {
    description:
      "Ein Sprachmodell, das in deinem Browser weiterschreibt, auf deinem eigenen Rechner. Nichts, was du schreibst, verlässt ihn.",
    lede: "Fang einen Text an; ein kleines Sprachmodell schreibt weiter. Es läuft in diesem Tab, auf deinem eigenen Gerät, und nichts, was du schreibst, verlässt es.",
    places: "Räume",
    write: "Schreiben",
    voice: "Stimme",
    library: "Bibliothek",
    title: (place) => `${place} · Imprint`,
    needsScript: "Imprint rechnet auf dieser Seite und braucht dafür JavaScript.",
    licences: "Woraus Imprint gemacht ist",
  },

  format: {
    million: (value) => `${value} Millionen`,
    billion: (value) => `${value} Milliarden`,
    moment: "einen Augenblick",
    seconds: (value) => `etwa ${value} s`,
    minutes: (value) => `etwa ${value} min`,
  },

  model: {
    offerLabel: "Ein Modell laden",
    first: "Zuerst das Modell: {offered}.",
    fetches: "Dein Browser holt {size} einmal von dieser Seite und hebt sie fürs nächste Mal auf.",
    unknownSize: "eine Datei unbekannter Größe",
    load: "Modell laden",
    back: "Zurück",
    others: "Anderes Modell, anderes Gerät",
    runOn: "Rechnen auf",
    auto: "der Grafikkarte, wenn es eine gibt",
    webgpu: "nur der Grafikkarte",
    cpu: "dem Prozessor",
    file: "Eine eigene GGUF-Datei",
    fileHint: "Sie wird gelesen, wo sie liegt; nichts wird hochgeladen oder kopiert.",
    forget: "Gespeichertes Modell vergessen",
    forgotten: "Vergessen",
    gone: "Das gespeicherte Modell ist aus diesem Browser gelöscht.",
    loadingLabel: "Laden",
    loading: "Das Modell wird geladen",
    cancel: "Abbrechen",
    stopping: "Wird angehalten",
    readyLabel: "Das Modell",
    change: "Ändern",
    reading: "Das Modell wird aus diesem Browser gelesen",
    download: "Das Modell wird heruntergeladen",
    verify: "Die Datei wird geprüft",
    unpack: "Das Modell wird ausgepackt",
    compile: "Wird warm",
    ready: "Bereit",
    percent: (title, percent) => `${title}, ${percent} Prozent`,
    of: (done, total) => `${done} von ${total}`,
    left: (time) => `noch ${time}`,
    yours: "Dein Modell",
    parameters: (count) => `${count} Parameter`,
    onGpu: "Läuft auf der Grafikkarte",
    onProcessor: "Läuft auf dem Prozessor",
    readyOnGpu: "Das Modell ist bereit und läuft auf der Grafikkarte.",
    readyOnProcessor: "Das Modell ist bereit und läuft auf dem Prozessor.",
  },

  errors: {
    "no-webgpu":
      "Dieser Browser bietet keine brauchbare Grafikkarte an. Nimm den Prozessor, oder versuch es mit einem aktuellen Chrome, Edge, Firefox oder Safari, in dem WebGPU eingeschaltet ist.",
    "device-lost":
      "Die Grafikkarte ist weggefallen, vielleicht nach dem Ruhezustand oder einem Treiber-Update. Lade das Modell noch einmal.",
    "out-of-memory":
      "Dafür reicht der Speicher nicht. Schließ andere Tabs oder nimm ein kleineres Modell, und lade es dann noch einmal.",
    "text-too-short": "Der Text ist dafür zu kurz. Füge etwas hinzu und versuch es noch einmal.",
    "text-too-long":
      "Das ist mehr Text, als auf einmal gelesen werden kann. Lass etwas weg und versuch es noch einmal.",
    "text-unreadable":
      "Die Datei enthält keinen lesbaren Text. Speichere sie als reinen Text in UTF-8 und versuch es noch einmal.",
    "context-full":
      "Der Text ist länger geworden, als das Modell auf einmal lesen kann. Kürze ihn oder lass weniger Wörter schreiben, und mach dann weiter.",
    "model-corrupt":
      "Die Modelldatei ist beschädigt; nichts davon wurde behalten. Lade sie noch einmal oder nimm eine andere.",
    "model-unsupported": "Diese Art von Modell kennt Imprint nicht. Nimm eine andere GGUF-Datei.",
    "model-unreachable":
      "Das Modell war nicht zu erreichen. Prüf die Verbindung und lade noch einmal: Was schon da ist, bleibt.",
    "adapter-wrong-base":
      "Diese Stimme gehört zu einem anderen Modell. Lade zuerst das Modell, zu dem sie gehört.",
    "adapter-corrupt": "Die Datei der Stimme ist beschädigt. Nimm eine andere Kopie davon.",
    "adapter-unsupported":
      "Diese Art von Stimme kennt Imprint nicht. Exportiere sie zuerst als einfaches LoRA.",
    "storage-full":
      "Der Speicher des Browsers ist voll. Schaff Platz oder vergiss ein gespeichertes Modell, und lade dann noch einmal.",
    busy: "Ein anderer Tab dieses Browsers lernt gerade. Warte, bis er fertig ist, oder halte ihn dort an, und versuch es dann noch einmal.",
    locked:
      "Was in diesem Browser aufgehoben ist, ist abgeschlossen. Schließ es in der Bibliothek mit deiner Passphrase auf und versuch es noch einmal.",
    "wrong-passphrase":
      "Das ist nicht die Passphrase. Versuch es noch einmal; schau, ob die Feststelltaste an ist, oder lass dir zeigen, was du tippst.",
    "nothing-learned":
      "Nach dem Lernen sieht das Modell deinen Text nicht besser voraus; darum wurde nichts gespeichert. Füge mehr Text in einer Stimme hinzu und lass es noch einmal lernen.",
    "invalid-option":
      "Eine der Einstellungen hat einen Wert, der nicht geht. Setz die Einstellungen zurück und versuch es noch einmal.",
    cancelled: "Angehalten, wie du wolltest.",
    internal:
      "In Imprint ist etwas kaputtgegangen. Dein Text ist sicher: Lade das Modell noch einmal, dann geht es weiter.",
  },
};
