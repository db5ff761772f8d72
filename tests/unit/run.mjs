// Bundles the unit tests with a fake wasm module in the place of the real one, and runs them under node's test runner.
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = resolve(fileURLToPath(import.meta.url), "..");
const out = await mkdtemp(join(tmpdir(), "imprint-unit-"));
try {
  const tests = (await readdir(here)).filter((name) => name.endsWith(".test.ts"));
  await build({
    entryPoints: tests.map((name) => join(here, name)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    sourcemap: "inline",
    define: { ROOT: JSON.stringify(resolve(here, "../..")) },
    plugins: [
      {
        name: "fake-wasm",
        setup({ onResolve }) {
          onResolve({ filter: /\/imprint_(wasm|writer)\.js$/ }, () => ({ path: join(here, "fake-wasm.ts") }));
        },
      },
    ],
  });
  const files = tests.map((name) => join(out, name.replace(/\.ts$/, ".mjs")));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
