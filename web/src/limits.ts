import type { DeviceChoice } from "./engine.js";
import type { Memory } from "./models.js";

/** What this device and browser can hold, as far as they tell; what is left out is not known. */
export type DeviceLimits = {
  /** All memory of the device. */
  memoryBytes?: number;
  /** The largest piece that the GPU takes at once; 0 where there is no GPU. */
  gpuPieceBytes?: number;
  /** What the browser's storage still takes. */
  storageBytes?: number;
};

/** Why a model does not fit, with both figures. */
export type Unfit = { kind: "memory" | "page" | "gpu" | "storage"; needBytes: number; haveBytes: number };

/** From here on browsers tell no more: a device of 64 GiB may say 8. */
const MOST_TOLD_GIB = 8;
/** What the processor's path can use of WebAssembly's memory; the module holds itself to it too. */
const PAGE_BYTES = 3 * 2 ** 30;

type Told = {
  deviceMemory?: number;
  gpu?: { requestAdapter(): Promise<{ limits: Record<string, number> } | null> };
};

/** Asks the browser what this device can hold. */
export async function deviceLimits(): Promise<DeviceLimits> {
  const { gpu } = globalThis.navigator as Navigator & Told;
  const memory = memoryBytes();
  const adapter = await gpu?.requestAdapter().catch(() => null);
  const { maxBufferSize = 0, maxStorageBufferBindingSize = 0 } = adapter?.limits ?? {};
  const { usage, quota } = await storage();
  return {
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    gpuPieceBytes: Math.min(maxBufferSize, maxStorageBufferBindingSize),
    ...(usage === undefined || quota === undefined ? {} : { storageBytes: Math.max(0, quota - usage) }),
  };
}

/** Memory of this device, where it is known: what a model may not exceed. */
export function memoryBytes(): number | undefined {
  const { deviceMemory } = (globalThis.navigator ?? {}) as Told;
  return deviceMemory !== undefined && deviceMemory < MOST_TOLD_GIB ? deviceMemory * 2 ** 30 : undefined;
}

/** Why a model does not fit a device with these limits; undefined where it fits, or nobody knows. */
export function unfit(
  model: { sizeBytes: number; memory?: Memory | undefined; kept?: boolean },
  limits: DeviceLimits,
  device: DeviceChoice = "auto",
): Unfit | undefined {
  const { storageBytes } = limits;
  if (!model.kept && storageBytes !== undefined && model.sizeBytes > storageBytes)
    return { kind: "storage", needBytes: model.sizeBytes, haveBytes: storageBytes };
  if (!model.memory) return over("memory", model.sizeBytes, limits.memoryBytes);
  const gpu = onGpu(model.memory, limits);
  const cpu = onProcessor(model.memory, limits);
  if (device === "webgpu") return gpu;
  if (device === "cpu") return cpu;
  return gpu && cpu;
}

function onGpu(memory: Memory, limits: DeviceLimits): Unfit | undefined {
  const whole = over("memory", memory.gpuBytes, limits.memoryBytes);
  return whole ?? over("gpu", memory.gpuPieceBytes, limits.gpuPieceBytes);
}

function onProcessor(memory: Memory, limits: DeviceLimits): Unfit | undefined {
  const whole = over("memory", memory.cpuBytes, limits.memoryBytes);
  return whole ?? over("page", memory.cpuBytes, PAGE_BYTES);
}

function over(kind: Unfit["kind"], needBytes: number, haveBytes: number | undefined): Unfit | undefined {
  return haveBytes !== undefined && needBytes > haveBytes ? { kind, needBytes, haveBytes } : undefined;
}

async function storage(): Promise<StorageEstimate> {
  const { storage } = globalThis.navigator as Partial<Navigator>;
  return (await storage?.estimate?.().catch(() => undefined)) ?? {};
}
