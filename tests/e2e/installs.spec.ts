import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Page } from "@playwright/test";
import { build, createServer } from "vite";
import webpack from "webpack";
import type * as Package from "../../web/src/index.js";
import { Blog } from "./blog.js";
import { expect, test } from "./fixture.js";
import { smallModel } from "./small-model.js";

const root = resolve(import.meta.dirname, "../..");
const app = mkdtempSync(join(tmpdir(), "imprint-app-"));
const run = (program: string, args: string[], cwd: string): string =>
  execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** What a person's own app holds: its page with the element, and a script that writes with the engine. */
const element =
  '<imprint-writer model="/small.gguf" model-bytes="120000" device="cpu" prompt="Mr." seed="3" max-tokens="8"></imprint-writer>';
const writes = `
globalThis.write = async (model) => {
  const opened = await Imprint.open({ model, device: "cpu" });
  let text = "";
  for await (const piece of opened.write("Mr.", { maxTokens: 8, seed: 3, temperature: 0 })) text += piece.text;
  await opened.close();
  return text;
};`;
const markup = (script: string): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title>${element}${script}</html>`;

type Written = { engine: string; element: string };
let blog: Blog;
/** What the package writes in a page without a bundler, which is what every bundler's page must write. */
let plain: Written;

test.beforeAll(async ({ browser }) => {
  blog = await Blog.open();
  blog.files.set("/small.gguf", smallModel());
  // As npm would fetch it: packed, then installed where nothing else is.
  const tarball = run("npm", ["pack", join(root, "pkg"), "--silent"], app).trim();
  writeFileSync(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", `./${tarball}`], app);
  mkdirSync(join(app, "public"));
  writeFileSync(join(app, "public/small.gguf"), smallModel());
  writeFileSync(join(app, "index.html"), markup('<script type="module" src="/main.js"></script>'));
  writeFileSync(
    join(app, "main.js"),
    `import { Imprint } from "imprint";\nimport "imprint/define";\n${writes}`,
  );
  blog.folders.set("/imprint/", join(app, "node_modules/imprint/dist"));
  const page = await browser.newPage();
  const script = `import { Imprint } from "/imprint/index.js";\nimport "/imprint/define.js";\n${writes}`;
  plain = await written(page, blog.page("/plain", `${element}<script type="module">${script}</script>`));
  await page.close();
  blog.folders.delete("/imprint/");
});
test.afterAll(async () => {
  await blog.close();
  rmSync(app, { recursive: true, force: true });
});
test.beforeEach(({ laws }) => laws.allow(blog.url));

/** Opens the app and writes with the engine and with the element, as its visitor would. */
async function written(page: Page, url: string): Promise<Written> {
  await page.goto(url);
  await page.waitForFunction(() => "write" in globalThis);
  const engine = await page.evaluate(() =>
    (globalThis as unknown as { write(model: string): Promise<string> }).write("/small.gguf"),
  );
  await expect.poll(() => page.workers().length, "the Worker is let go").toBe(0);
  const writer = page.locator("imprint-writer");
  await writer.getByRole("button", { name: /Write on/ }).click();
  await expect(writer.getByRole("button", { name: "Another way" })).toBeVisible();
  expect(page.workers().length, "the element has a Worker too").toBe(1);
  return {
    engine,
    element: await writer.evaluate((element) => (element as Package.ImprintWriterElement).text),
  };
}

test("a page without a bundler writes with the installed package, by engine and by element", () => {
  expect(plain.engine.length).toBeGreaterThan(0);
  expect(plain.element.length).toBeGreaterThan(0);
});

test("built by Vite, a fresh app writes the same", async ({ page }) => {
  await build({ root: app, configFile: false, logLevel: "error" });
  blog.folders.set("/", join(app, "dist"));
  expect(await written(page, `${blog.url}/index.html`)).toEqual(plain);
  blog.folders.delete("/");
});

test("served by Vite for development, a fresh app writes the same", async ({ page, laws }) => {
  const server = await createServer({
    root: app,
    configFile: false,
    logLevel: "error",
    server: { host: "127.0.0.1", port: 0 },
  });
  try {
    await server.listen();
    const url = server.resolvedUrls?.local[0] ?? "";
    laws.allow(new URL(url).origin);
    expect(await written(page, url)).toEqual(plain);
  } finally {
    await server.close();
  }
});

test("built by webpack, a fresh app writes the same", async ({ page }) => {
  const out = join(app, "packed");
  const compiler = webpack({ mode: "production", context: app, entry: "./main.js", output: { path: out } });
  const made = await new Promise<string>((resolve, reject) =>
    compiler?.run((error, stats) => (error ? reject(error) : resolve(stats?.toString("errors-only") ?? ""))),
  );
  expect(made).toBe("");
  writeFileSync(join(out, "index.html"), markup('<script defer src="main.js"></script>'));
  blog.folders.set("/", out);
  expect(await written(page, `${blog.url}/index.html`)).toEqual(plain);
  blog.folders.delete("/");
});

test("on a server, importing the package throws nothing and defines nothing", () => {
  const imports = 'await import("imprint"); await import("imprint/define"); console.log("imported")';
  expect(run(process.execPath, ["--input-type=module", "-e", imports], app).trim()).toBe("imported");
});

test("the tarball holds modules with maps, types with comments, the licences and the README", () => {
  const packed = run("npm", ["pack", join(root, "pkg"), "--dry-run", "--json"], app);
  const [{ files }] = JSON.parse(packed) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  for (const path of ["README.md", "dist/LICENSE-MIT", "dist/LICENSE-APACHE", "dist/embed.html"])
    expect(paths).toContain(path);
  const modules = paths.filter((path) => path.endsWith(".js") && !/imprint_(wasm|writer)\.js$/.test(path));
  expect(modules.length).toBeGreaterThan(5);
  for (const path of modules) expect(paths, "every module has its map").toContain(`${path}.map`);
  const types = readFileSync(join(root, "pkg/dist/imprint.d.ts"), "utf8");
  expect(types).toMatch(/\/\*\*\s+\* Learns an adapter from texts of one person\./);
});

test("publint and attw find nothing wrong with the package", () => {
  const tool = (name: string, args: string[]): string =>
    run(join(root, "node_modules/.bin", name), args, root);
  expect(tool("publint", ["pkg", "--strict"])).toContain("All good!");
  // The module and the page for a frame are no scripts, so they have no types.
  tool("attw", ["--pack", "pkg", "--profile", "esm-only", "--exclude-entrypoints", "wasm", "embed.html"]);
});
