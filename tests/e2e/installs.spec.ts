import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Page } from "@playwright/test";
import { Blog } from "./blog.js";
import { expect, test } from "./fixture.js";
import { smallModel } from "./small-model.js";

const root = resolve(import.meta.dirname, "../..");
const app = mkdtempSync(join(tmpdir(), "imprint-app-"));
const run = (program: string, args: string[], cwd: string): string =>
  execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

let blog: Blog;
test.beforeAll(async () => {
  blog = await Blog.open();
  blog.files.set("/small.gguf", smallModel());
  // As npm would fetch it: packed, then installed where nothing else is.
  const tarball = run("npm", ["pack", join(root, "pkg"), "--silent"], app).trim();
  writeFileSync(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", `./${tarball}`], app);
});
test.afterAll(async () => {
  await blog.close();
  rmSync(app, { recursive: true, force: true });
});
test.beforeEach(({ laws }) => laws.allow(blog.url));

/** What a page of the app writes with the small model. */
function writes(page: Page): Promise<string> {
  return page.evaluate(() =>
    (globalThis as unknown as { write(model: string): Promise<string> }).write("/small.gguf"),
  );
}

const script = `
const { Imprint } = imprint;
globalThis.write = async (model) => {
  const opened = await Imprint.open({ model, device: "cpu" });
  let text = "";
  for await (const piece of opened.write("Mr.", { maxTokens: 8, seed: 3, temperature: 0 })) text += piece.text;
  await opened.close();
  return text;
};`;

test("installed into a fresh Vite app and into a page without a bundler, the package writes the same", async ({
  page,
}) => {
  writeFileSync(
    join(app, "index.html"),
    '<!doctype html><title>App</title><script type="module" src="/main.js"></script>',
  );
  writeFileSync(
    join(app, "main.js"),
    `import * as imprint from "imprint";\nimport "imprint/define";\n${script}`,
  );
  run(process.execPath, [join(root, "node_modules/vite/bin/vite.js"), "build", "--logLevel", "error"], app);
  blog.folders.set("/", join(app, "dist"));
  await page.goto(`${blog.url}/index.html`);
  const bundled = await writes(page);
  expect(bundled.length).toBeGreaterThan(0);
  await expect.poll(() => page.workers().length, "the Worker is let go").toBe(0);
  expect(await page.evaluate(() => customElements.get("imprint-writer") !== undefined)).toBe(true);

  blog.folders.delete("/");
  blog.folders.set("/imprint/", join(app, "node_modules/imprint/dist"));
  const plain = `<script type="module">import * as imprint from "/imprint/index.js";${script}</script>`;
  await page.goto(blog.page("/plain", plain));
  expect(await writes(page)).toBe(bundled);
});

test("on a server, importing the package throws nothing and defines nothing", () => {
  const imports = 'await import("imprint"); await import("imprint/define"); console.log("imported")';
  expect(run(process.execPath, ["--input-type=module", "-e", imports], app).trim()).toBe("imported");
});

test("publint and attw find nothing wrong with the package", () => {
  const tool = (name: string, args: string[]): string =>
    run(join(root, "node_modules/.bin", name), args, root);
  expect(tool("publint", ["pkg", "--strict"])).toContain("All good!");
  // The module and the page for a frame are no scripts, so they have no types.
  tool("attw", ["--pack", "pkg", "--profile", "esm-only", "--exclude-entrypoints", "wasm", "embed.html"]);
});
