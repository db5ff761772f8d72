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
    first:
      "Ein kleines Sprachmodell, das weiterschreibt, wo du aufhörst, und in deiner Stimme, sobald du sie ihm beibringst.",
    offered: "Das Modell ist {offered}.",
    fetches:
      "Dein Browser holt seine {size} einmal von dieser Seite und hebt sie auf; nichts, was du schreibst, verlässt dieses Gerät.",
    sample: "Eine Beispielstimme probieren",
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

  update: {
    label: "Neue Fassung",
    here: "Es gibt eine neue Fassung dieser Seite.",
    reload: "Neu laden",
  },

  vault: {
    title: "Eine Passphrase für das Aufgehobene",
    offer:
      "Ohne Passphrase kann jeder, der dieses Benutzerkonto benutzt, lesen, was in diesem Browser aufgehoben ist. Mit einer liegen deine Stimmen, das, woraus sie gelernt sind, und deine Entwürfe hier versiegelt. Modelle nicht: Die sind für alle gleich.",
    insecure: "Der Browser verschlüsselt nur auf Seiten, die über HTTPS kommen.",
    passphrase: "Passphrase",
    again: "Noch einmal",
    current: "Bisherige Passphrase",
    next: "Neue Passphrase",
    show: "Zeigen",
    advice: "Am besten sind vier oder fünf Wörter, auf die niemand käme.",
    tooShort: "Noch zu kurz: mindestens 8 Zeichen.",
    weak: "Leicht zu erraten.",
    fair: "Nicht leicht zu erraten.",
    strong: "Schwer zu erraten.",
    differs: "Die beiden sind nicht gleich. Tippe die Passphrase noch einmal.",
    warning:
      "Schreib sie dir an einem sicheren Ort auf: Niemand kann sie wiederherstellen, und ohne sie ist das Versiegelte verloren.",
    set: "Passphrase setzen",
    sealing: "Das Aufgehobene wird versiegelt …",
    isSet: "Das Aufgehobene ist von jetzt an versiegelt.",
    sealed: "Das Aufgehobene ist versiegelt.",
    since: (day) => `Seit dem ${day}.`,
    lock: "Jetzt abschließen",
    change: "Passphrase ändern",
    doChange: "Ändern",
    changing: "Die Passphrase wird geändert …",
    isChanged: "Die Passphrase ist geändert.",
    remove: "Passphrase entfernen",
    removeAdvice: "Das Aufgehobene liegt dann so lesbar hier wie zuvor.",
    doRemove: "Entfernen",
    opening: "Das Aufgehobene wird geöffnet …",
    isRemoved: "Die Passphrase ist entfernt.",
    above: "Das Aufgehobene ist abgeschlossen. Schließ es oben auf der Seite auf.",
    ask: "Was in diesem Browser aufgehoben ist, ist abgeschlossen. Was du inzwischen schreibst, wird nach dem Aufschließen aufgehoben.",
    unlock: "Aufschließen",
    unlocking: "Wird aufgeschlossen …",
    lost: "Die Passphrase ist verloren",
    lostAdvice:
      "Ohne die Passphrase kann es niemand öffnen: wir nicht und der Browser nicht. Wenn sie nicht wiederkommt, kannst du nur alles vergessen, was hier aufgehoben ist (Stimmen, Texte, Entwürfe, Modelle), und neu anfangen. Eine exportierte Stimme lässt sich wieder einlesen.",
    forget: "Alles vergessen",
    sure: "Wirklich alles?",
    forgetting: "Wird vergessen …",
  },

  requests: {
    title: "Was diese Seite verlässt",
    none: "Der Browser erzählt dieser Seite nichts von ihren Anfragen.",
    allHere: (requests, host, size) =>
      `Nichts als Anfragen nach ihren eigenen Dateien: bisher ${requests}, alle an ${host}, woher sie kommt. Zurück kamen ${size}.`,
    elsewhere: (requests, hosts, size) =>
      `Von bisher ${requests} Anfragen nach Dateien gingen einige anderswohin: ${hosts}. Zurück kamen ${size}.`,
    bare: "Jede Adresse ist der Name einer Datei und sonst nichts.",
    queries: (requests) => `${requests} Adressen enthalten mehr als den Namen einer Datei; sie stehen unten.`,
    list: "Alle Anfragen, seit sie geladen wurde",
    label: "Anfragen",
    thePage: "diese Seite",
    page: "Seite",
    script: "Skript",
    style: "Stil",
    picture: "Bild",
    file: "Datei",
    byPage: "von der Seite",
    byWorker: "vom Worker des Modells",
    byServiceWorker: "vom Service Worker",
    kept: "war schon hier",
    sight:
      "Das ist, was der Browser der Seite erzählt: Anfragen der Seite selbst, der Worker, die das Modell rechnen, und des Service Workers, seit er wach ist. Von Erweiterungen des Browsers erzählt er nichts. Sieh selbst nach: in den Entwicklerwerkzeugen des Browsers unter Netzwerk, oder zieh den Stecker. Alles außer dem ersten Herunterladen geht auch ohne.",
    rules: "Die Regeln, an die der Browser sie hält",
    policy:
      "Was auch immer das Programm versuchte: Der Browser ließe diese Seite nur mit ihrer eigenen Herkunft sprechen, nur Skripte ausführen, die dort als Dateien liegen, und aus keinem Text Markup oder Skript werden.",
  },

  draft: {
    label: "Dein Text",
    placeholder: "Als ich zum ersten Mal das Meer sah,",
    continue: "Weiter",
    stop: "Halt",
    ways: "Anders",
    waysDone: "Drei Fassungen sind geschrieben.",
    keepMine: "So lassen",
    take: "Die nehme ich",
    takeWay: (number) => `Die nehme ich, Fassung ${number}`,
    back: "Zurücknehmen",
    suggest: "Vorschlagen",
    passage: "Die markierte Stelle",
    mine: "In meinen Worten",
    shorter: "Kürzer",
    longer: "Länger",
    accept: "Annehmen",
    refuse: "Ablehnen",
    same: "Das Modell fand keine anderen Worte dafür.",
    differenceDone: "Eine andere Fassung ist geschrieben: Nimm sie an oder lehne sie ab.",
    suggestion: "Der Vorschlag",
    takeAll: "Übernehmen",
    takeWord: "Ein Wort",
    drop: "Verwerfen",
    suggested: (text) => `Vorschlag: ${text}`,
    suggesting: "Wörter am Cursor vorschlagen",
    suggestingHint: "in Grau, bis du sie übernimmst",
    never: "nie",
    onKey: "mit Alt+Enter",
    onPause: "wenn ich innehalte",
    strength: (voice) => `Stärke von ${voice}`,
    strengthHint: "0 ist der Durchschnitt des Modells, 1 die gelernte Stimme, 3 mehr du als du selbst",
    keys: "{ctrl} oder {cmd} mit {enter} schreibt weiter, {alt} mit {return} schlägt Wörter vor, {esc} hält an.",
    loadFirst: "Lade das Modell, um weiterzuschreiben.",
    learning: "Das Modell lernt gerade; es schreibt wieder, wenn das fertig oder angehalten ist.",
    begin: "Schreib ein paar Wörter zum Anfang.",
    writing: "Schreibt.",
    stopped: "Angehalten.",
    endings: {
      end: "Das Modell ist zu seinem Ende gekommen.",
      stop: "An einer deiner Zeichenfolgen angehalten.",
      length: "Die eingestellte Länge ist erreicht.",
      context: "Der Text ist so lang geworden, wie das Modell auf einmal lesen kann.",
    },
    reading: (done, all) => `Liest deinen Text: ${done} von ${all} Tokens`,
    counts: (read, written) => `${read} Tokens gelesen, ${written} geschrieben`,
    speed: (rate) => `${rate} Tokens/s`,
    copies: "Wörtlich aus deinen Texten:",
    count: (value, count) => (value === 1 ? "1 Wort" : `${count} Wörter`),
    share: (percent) => `${percent} % von dir`,
  },

  drafts: {
    title: "Entwürfe",
    create: "Neuer Entwurf",
    delete: "Löschen",
    deleteNamed: (title) => `${title} löschen`,
    restore: "Zurückholen",
    gone: (title) => `„${title}“ ist gelöscht.`,
    untitled: "Ohne Titel",
    facts: (length, day) => `${length} · ${day}`,
    kept: "Entwürfe liegen nur in diesem Browser und sichern sich selbst.",
    opened: (title) => `Geöffnet: ${title}.`,
    created: "Ein neuer, leerer Entwurf.",
    copied: "Ein anderer Tab hat diesen Entwurf geändert; deiner geht als eigene Kopie weiter.",
  },

  samples: {
    label: "Beispielstimmen",
    lede: "Gerade kein eigener Text zur Hand? Probier zuerst eine Stimme, die alle kennen.",
    austen: "Jane Austen, 1813",
    melville: "Herman Melville, 1851",
    taken: (name) => `Der Text von ${name} steht unten; gib der Stimme einen Namen und drück auf Lernen.`,
  },

  sampling: {
    title: "Wie es schreibt",
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
