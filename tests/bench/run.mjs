// Bundles the browser half of the benchmark and runs it: node tests/bench/run.mjs --site URL … (see browser.ts).
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const here = resolve(fileURLToPath(import.meta.url), "..");
// Inside node_modules, so that the bundle finds the packages it leaves out.
const out = resolve(here, "../../node_modules/.cache/imprint/bench");
await mkdir(out, { recursive: true });
const outfile = join(out, "browser.mjs");
await build({
  entryPoints: [join(here, "browser.ts")],
  outfile,
  bundle: true,
  packages: "external",
  format: "esm",
  platform: "node",
  target: "node20",
});
await import(pathToFileURL(outfile).href);
