/**
 * Language models that write in the browser, on the person's own computer.
 *
 * @packageDocumentation
 */
export {
  forgetEverything,
  forgetModel,
  Imprint,
  inspect,
  Piece,
  storedModels,
  type ImprintOptions,
} from "./imprint.js";
export { models, type ListedModel, type Memory } from "./models.js";
export { deviceLimits, unfit, type DeviceLimits, type Unfit } from "./limits.js";
export type { WorkerChoice } from "./engines.js";
export { shortestPassphrase, vault, type Vault, type VaultOptions, type VaultStatus } from "./vault.js";
export { Adapters, type AdapterFormat, type AdapterSource } from "./adapters.js";
export { Library } from "./library.js";
export { LearningRun, Runs, type LearningOptions, type LearningState } from "./learning.js";
export { ImprintError, sentences, type ErrorCode } from "./errors.js";
export type {
  Apart,
  DeviceChoice,
  DeviceInfo,
  Finish,
  Inspection,
  LearningTest,
  LearningTrial,
  ModelInfo,
  Progress,
  Score,
  SelfTest,
  Stats,
  StoredModel,
  WriteOptions,
} from "./engine.js";
export type {
  AdapterInfo,
  AdapterUse,
  Copied,
  CountedName,
  Counts,
  Effort,
  Ending,
  LearnOptions,
  LearnPlan,
  LearnProgress,
  Loss,
  Measurement,
  Measures,
  Preview,
  Projection,
  Recipe,
  RunInfo,
  StorageUsage,
  TextCounts,
  TextInput,
  Voice,
  Weighed,
} from "./voice.js";
export { ImprintWriterElement } from "./widget/imprint-writer.js";
export { WriterAttributes } from "./widget/attributes.js";
export {
  ImprintDoneEvent,
  ImprintErrorEvent,
  ImprintPieceEvent,
  ImprintProgressEvent,
  ImprintStateEvent,
  type WriterState,
} from "./widget/events.js";
export type { EmbedCommand, EmbedMessage, EmbedOptions } from "./widget/embed-protocol.js";
