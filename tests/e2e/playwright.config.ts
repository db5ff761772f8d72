import { defineConfig } from "@playwright/test";
import { args, executablePath } from "./chromium.js";

const site = process.env["IMPRINT_SITE"];
if (!site)
  throw new Error(
    "IMPRINT_SITE is not set: it names the address where the built site and the model are served",
  );

// One browser at a time: the software GPU takes all cores, and two would only wait for each other.
export default defineConfig({
  testDir: ".",
  outputDir: "output/results",
  workers: 1,
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
