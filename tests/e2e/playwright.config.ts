import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "@playwright/test";
import { args, executablePath } from "./chromium.js";

const site = process.env["IMPRINT_SITE"];
if (!site)
  throw new Error(
    "IMPRINT_SITE is not set: it names the address where the built site and the model are served",
  );

/** The files whose tests ask for the GPU: of itself Imprint takes the processor where the GPU is a program on it. */
const asksForGpu = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith(".spec.ts"))
  .filter((name) => /webgpu|gpuProcess/.test(readFileSync(join(import.meta.dirname, name), "utf8")));

export default defineConfig({
  testDir: ".",
  outputDir: "output/results",
  // One browser on the software GPU, which takes all cores, so that two would only wait for each other; beside it one that
  // leaves a core idle.
  workers: 2,
  projects: [
    { name: "gpu", testMatch: asksForGpu, workers: 1 },
    { name: "processor", testIgnore: asksForGpu, workers: 1 },
  ],
  fullyParallel: false,
  forbidOnly: true,
  // Where nobody can look, one that fails is tried once more, and told as flaky if it passes then.
  retries: process.env["CI"] ? 1 : 0,
  timeout: 240_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  use: {
    baseURL: site.endsWith("/") ? site : `${site}/`,
    actionTimeout: 60_000,
    launchOptions: { executablePath, args },
    trace: "off",
  },
});
