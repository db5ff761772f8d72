/** Language models that write in the browser, on the person's own computer. */
export {
  forgetModel,
  Imprint,
  inspect,
  Piece,
  storedModels,
  type ImprintOptions,
  type WorkerChoice,
} from "./imprint.js";
export { ImprintError, sentences, type ErrorCode } from "./errors.js";
export type {
  DeviceChoice,
  DeviceInfo,
  Finish,
  Inspection,
  ModelInfo,
  Progress,
  Score,
  Stats,
  StoredModel,
  WriteOptions,
} from "./engine.js";
