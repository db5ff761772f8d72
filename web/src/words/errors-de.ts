import type { ErrorCode } from "../errors.js";

/** The sentences of all errors in German; apart from the page's other words, since `<imprint-writer>` needs them alone. */
export const errorsDe: Readonly<Record<ErrorCode, string>> = {
  "no-webgpu":
    "Dieser Browser bietet keine brauchbare Grafikkarte an. Nimm den Prozessor, oder versuch es mit einem aktuellen Chrome, Edge, Firefox oder Safari, in dem WebGPU eingeschaltet ist.",
  "device-lost":
    "Die Grafikkarte ist weggefallen, vielleicht nach dem Ruhezustand oder einem Treiber-Update. Lade das Modell noch einmal.",
  "device-wrong":
    "Diese Grafikkarte rechnet falsch. Bring ihren Treiber auf den neuesten Stand, oder nimm den Prozessor.",
  "out-of-memory":
    "Dafür reicht der Speicher nicht. Schließ andere Tabs oder nimm ein kleineres Modell, und versuch es dann noch einmal.",
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
  "model-changed":
    "Unter der Adresse liegt eine andere Datei als beim ersten Mal; sie wurde nicht behalten. Stimmen, die auf der ersten gelernt wurden, passen nicht zu ihr. Nimm die neue nur, wenn du weißt, warum sie sich geändert hat.",
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
};
