import "./trust.js";
import "../elements/imprint-comparison-define.js";
import "../elements/imprint-draft-define.js";
import "../elements/imprint-drafts-define.js";
import "../elements/imprint-kept-drafts-define.js";
import "../elements/imprint-model-define.js";
import "../elements/imprint-requests-define.js";
import "../elements/imprint-rhythm-define.js";
import "../elements/imprint-sampling-define.js";
import "../elements/imprint-storage-define.js";
import "../elements/imprint-teacher-define.js";
import "../elements/imprint-unlock-define.js";
import "../elements/imprint-vault-define.js";
import "../elements/imprint-voices-define.js";
import type { ErrorCode } from "../errors.js";
import { ImprintComparisonElement } from "../elements/imprint-comparison.js";
import { ImprintDraftElement } from "../elements/imprint-draft.js";
import { ImprintModelElement } from "../elements/imprint-model.js";
import { ImprintRhythmElement } from "../elements/imprint-rhythm.js";
import { ImprintSamplingElement } from "../elements/imprint-sampling.js";
import { ImprintTeacherElement } from "../elements/imprint-teacher.js";
import { ImprintVoicesElement } from "../elements/imprint-voices.js";
import { requests } from "../requests.js";
import type { AdapterInfo } from "../voice.js";
import { vault } from "../vault.js";
import { Drafts } from "./drafts.js";
import { find } from "./find.js";
import { Keeper } from "./keeper.js";
import { chooseLanguage } from "./language.js";
import { furnishLibrary } from "./library.js";
import { Places } from "./places.js";
import { offerSamples } from "./samples.js";
import { followVault } from "./sealed.js";
import { keepShell } from "./shell.js";
import { furnishWrite } from "./write.js";

/** After these the model is of no use any more and must be loaded anew. */
const fatal: readonly ErrorCode[] = ["device-lost", "internal", "out-of-memory"];

function start(): void {
  const places = new Places();
  const model = find("imprint-model", ImprintModelElement);
  const draft = find("imprint-draft", ImprintDraftElement);
  const sampling = find("imprint-sampling", ImprintSamplingElement);
  const voices = find("imprint-voices", ImprintVoicesElement);
  const teacher = find("imprint-teacher", ImprintTeacherElement);
  const comparison = find("imprint-comparison", ImprintComparisonElement);
  const rhythm = find("imprint-rhythm", ImprintRhythmElement);
  draft.options = () => {
    const options = sampling.options();
    // A voice from elsewhere does not know its text, so nothing can be held against it.
    if (voices.speaking?.prints === false) {
      delete options.maxCopiedWords;
      delete options.withoutNames;
    }
    return options;
  };
  comparison.options = () => ({ ...draft.options(), ...draft.voiceOptions() });
  rhythm.options = () => draft.voiceOptions();
  const keeper = new Keeper(navigator.storage);
  /** A voice that waits for its model. */
  let wanted: AdapterInfo | null = null;
  model.addEventListener("imprint-model", ({ imprint }) => {
    draft.voice = comparison.voice = rhythm.voice = null;
    for (const element of [draft, voices, teacher, comparison, rhythm]) element.imprint = imprint;
    void keeper.keep(imprint);
    if (!imprint) return;
    if (wanted?.base === imprint.info.fingerprint) void voices.use(wanted);
    wanted = null;
  });
  voices.addEventListener("imprint-switch", ({ base, model: name, voice }) => {
    wanted = voice;
    void model.want(base, name);
  });
  for (const element of [draft, voices, teacher, rhythm]) {
    element.addEventListener("imprint-error", (event) => {
      if (!fatal.includes(event.error.code)) return;
      // A run that finds no room leaves the model as it was.
      if (element === teacher && event.error.code === "out-of-memory") return;
      event.preventDefault();
      model.fail(event.error);
    });
  }
  // A voice just learned is the one to hear.
  teacher.addEventListener("imprint-voice", ({ voice }) => {
    if (voice && teacher.given) void rhythm.author(voice.id, teacher.given);
    void voices.use(voice ?? undefined);
  });
  voices.addEventListener("imprint-voice", ({ voice }) => {
    comparison.voice = draft.voice = rhythm.voice = voice;
  });
  voices.addEventListener("imprint-resume", ({ run }) => {
    places.go("voice");
    void teacher.resume(run);
  });
  voices.addEventListener("imprint-texts", ({ texts }) => {
    places.go("voice");
    teacher.add(texts);
  });
  teacher.addEventListener("imprint-learning", ({ learning }) => {
    draft.busy = rhythm.busy = learning;
    if (learning) void keeper.ask();
    else void voices.refresh();
  });
  const drafts = new Drafts(vault);
  const shelf = furnishWrite(draft, drafts);
  furnishLibrary({ places, voices, shelf, drafts });
  document.addEventListener("imprint-forget", () => {
    rhythm.clear();
    if (voices.used) void voices.use(undefined);
  });
  void followVault({ draft, shelf, teacher, voices });
  offerSamples(teacher);
}

chooseLanguage(find("#imprint-language", HTMLSelectElement));
start();
requests.watch();
void keepShell(find("#imprint-update", HTMLElement));
