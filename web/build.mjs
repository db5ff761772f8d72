// Builds the static site and the npm package from web/src and the wasm module that wasm-bindgen wrote.
//
//   node web/build.mjs --wasm DIR [--site dist] [--package pkg/dist] [--model-host ORIGIN]… [--dev]
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { build } from "esbuild";
import { buildDocs } from "../docs/build.mjs";

const root = resolve(fileURLToPath(import.meta.url), "../..");
const source = join(root, "web/src");
const wasmScript = "imprint_wasm.js";
const wasmBinary = "imprint_wasm_bg.wasm";
const writerScript = "imprint_writer.js";
const writerBinary = "imprint_writer_bg.wasm";

const { values: options } = parseArgs({
  options: {
    wasm: { type: "string" },
    site: { type: "string", default: "dist" },
    package: { type: "string", default: "pkg/dist" },
    dev: { type: "boolean", default: false },
    "model-host": { type: "string", multiple: true, default: [] },
  },
});
if (!options.wasm) fail("say where wasm-bindgen wrote its files: --wasm DIR");
const wasm = resolve(options.wasm);
const site = resolve(root, options.site);
const pkg = resolve(root, options.package);
await readFile(join(wasm, wasmBinary)).catch(() =>
  fail(`${join(wasm, wasmBinary)} is missing: run wasm-bindgen first`),
);

const shared = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !options.dev,
  sourcemap: true,
  metafile: true,
  logLevel: "warning",
  legalComments: "none",
};

const packed = new Map();
/** The npm packages that went into a bundle, whose licences go along. */
const bundled = new Set();
const bundledList = join(root, "node_modules/.cache/imprint/bundled.json");

await buildSite();
await buildPackage();
// Last: `bundled` must know what the documentation's own scripts hold.
for (const name of await buildDocs(join(site, "docs"))) bundled.add(name);
await mkdir(dirname(bundledList), { recursive: true });
await writeFile(bundledList, JSON.stringify([...bundled].sort()));

/** The page with hashed names, so that a server may let browsers keep everything but index.html and sw.js. */
async function buildSite() {
  await fresh(join(site, "assets"));
  const binary = await hashed(join(wasm, wasmBinary));
  const worker = await bundle("web/src/worker.ts", { [wasmBinary]: binary });
  const page = await bundle("web/src/page/main.ts", {
    [wasmBinary]: binary,
    "worker.js": worker,
    ...(await samples()),
  });
  const style = await bundle("web/src/page/page.css", {});
  const icons = await manifestIcons();
  const manifest = await buildManifest(icons);

  const names = {
    "main.ts": page,
    "page.css": style,
    "icon.svg": icons["icon.svg"],
    "icon-192.png": icons["icon-192.png"],
    "manifest.webmanifest": manifest,
  };
  let html = await withParts(await readFile(join(root, "index.html"), "utf8"));
  for (const [name, asset] of Object.entries(names)) {
    if (!html.includes(`web/src/page/${name}`)) fail(`index.html does not name web/src/page/${name}`);
    html = html.replace(`web/src/page/${name}`, `assets/${asset}`);
  }
  html = withModelHosts(html);
  const foreign = await buildEmbed({ [wasmBinary]: binary, "worker.js": worker });
  const { files, version } = await shell(html, foreign);
  html = html.replace('name="imprint-version" content=""', `name="imprint-version" content="${version}"`);
  await writeFile(join(site, "index.html"), html);
  await buildServiceWorker({ files, version, worker: `assets/${worker}`, policy: policyOf(html) });
  await report("site", site);
}

/** The sample texts, by the names that the sources give them. */
async function samples() {
  const names = await readdir(join(source, "page/samples"));
  const made = names.map(async (name) => [
    `samples/${name}`,
    await hashed(join(source, "page/samples", name)),
  ]);
  return Object.fromEntries(await Promise.all(made));
}

/** Puts the parts of the page where `<!-- part: NAME -->` stands, and their parts into them. */
async function withParts(markup, inside = []) {
  const pieces = markup.split(/<!-- part: ([\w-]+) -->/);
  for (let at = 1; at < pieces.length; at += 2) {
    const name = pieces[at];
    if (inside.includes(name)) fail(`the part ${name} holds itself`);
    const part = await readFile(join(source, `page/parts/${name}.html`), "utf8").catch(() =>
      fail(`web/src/page/parts/${name}.html is missing`),
    );
    pieces[at] = await withParts(part.trimEnd(), [...inside, name]);
  }
  return pieces.join("");
}

/** The page for a frame, beside the page, with the module that only writes; tells what of it the page itself never needs. */
async function buildEmbed(urls) {
  const binary = await hashed(join(wasm, writerBinary));
  const worker = await bundle("web/src/writer.ts", { [writerBinary]: binary });
  const script = await bundle("web/src/widget/embed.ts", {
    ...urls,
    [writerBinary]: binary,
    "writer.js": worker,
  });
  const html = await readFile(join(source, "widget/embed.html"), "utf8");
  await writeFile(join(site, "embed.html"), html.replace('src="embed.js"', `src="assets/${script}"`));
  return [binary, worker];
}

/** The icons that the manifest and the page name, by their names in the sources. */
async function manifestIcons() {
  const names = ["icon.svg", "icon-192.png", "icon-512.png", "icon-maskable-512.png"];
  const made = names.map(async (name) => [name, await hashed(join(source, "page", name))]);
  return Object.fromEntries(await Promise.all(made));
}

/** The manifest of the installed page, which names the icons as they lie beside it. */
async function buildManifest(icons) {
  const name = "manifest.webmanifest";
  let manifest = await readFile(join(source, "page", name), "utf8");
  for (const [icon, asset] of Object.entries(icons)) manifest = manifest.replace(`"${icon}"`, `"${asset}"`);
  const made = `manifest-${hash(manifest)}.webmanifest`;
  await writeFile(join(site, "assets", made), JSON.stringify(JSON.parse(manifest)));
  return made;
}

/** Lets the page fetch from the host of its model, where the markup names another than its own, and from those asked for. */
function withModelHosts(html) {
  const [, model = ""] = /<imprint-model\s[^>]*?src="([^"]*)"/.exec(html) ?? [];
  const wrong = options["model-host"].find((host) => !URL.canParse(host) || new URL(host).origin !== host);
  if (wrong !== undefined) fail(`--model-host ${wrong} is no origin such as https://example.org`);
  const hosts = [...(URL.canParse(model) ? [new URL(model).origin] : []), ...options["model-host"]];
  return html.replace("connect-src 'self'", ["connect-src 'self'", ...hosts].join(" "));
}

/** The policy that stands in the markup. */
function policyOf(html) {
  const [, policy = ""] = /http-equiv="Content-Security-Policy"\s+content="([^"]*)"/.exec(html) ?? [];
  if (policy === "") fail("index.html has no Content-Security-Policy");
  return policy;
}

/** Every file of this build that the page needs without a network, and a version that changes with any of them. */
async function shell(html, foreign) {
  const needed = (name) => !name.endsWith(".map") && !foreign.includes(name);
  const names = (await readdir(join(site, "assets"))).filter(needed).sort();
  const files = names.map((name) => `assets/${name}`);
  return { files, version: hash(JSON.stringify(files) + html) };
}

/** The service worker, which must know every file of this build and its version. */
async function buildServiceWorker({ files, version, worker, policy }) {
  await bundling({
    format: "iife",
    entryPoints: ["web/sw/sw.ts"],
    outfile: join(site, "sw.js"),
    define: {
      SHELL_FILES: JSON.stringify(files),
      SHELL_VERSION: JSON.stringify(version),
      SHELL_WORKER: JSON.stringify(worker),
      SHELL_POLICY: JSON.stringify(policy),
    },
  });
}

/** The package: modules that a browser loads as they are and that bundlers understand. */
async function buildPackage() {
  await fresh(pkg);
  // Apart, so that the worker stands alone and can be named by its address, and defining the element is `define.js` alone. Whitespace goes, names stay: what a page
  // loads before its reader presses anything is to be small, and a bundler minifies the rest.
  const entries = {
    imprint: { index: "web/src/index.ts", define: "web/src/widget/define.ts" },
    embed: { embed: "web/src/widget/embed.ts" },
    worker: { worker: "web/src/worker.ts" },
    // The same over the module that only writes.
    writer: { writer: "web/src/writer.ts" },
  };
  for (const [name, entryPoints] of Object.entries(entries)) {
    await bundling({
      entryPoints,
      outdir: pkg,
      minify: false,
      minifyWhitespace: true,
      minifySyntax: true,
      splitting: true,
      chunkNames: `${name}-[hash]`,
      external: [`./${wasmScript}`, `./${writerScript}`, ...(name === "embed" ? ["./define.js"] : [])],
    });
  }
  for (const licence of ["LICENSE-MIT", "LICENSE-APACHE"]) await cp(join(root, licence), join(pkg, licence));
  await cp(join(source, "widget/embed.html"), join(pkg, "embed.html"));
  for (const name of await readdir(wasm)) {
    if (/^imprint_(wasm|writer)[._]/.test(name) || name === "snippets") {
      await cp(join(wasm, name), join(pkg, name), { recursive: true });
    }
  }
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", join(root, "web/types.json"), "--outDir", pkg], {
    stdio: "inherit",
  });
  await report("package", pkg);
}

/** Bundles and notes which npm packages went in; returns what went where. */
async function bundling(more) {
  const { metafile } = await build({ ...shared, ...more });
  for (const path of Object.keys(metafile.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
    if (name) bundled.add(name);
  }
  return metafile;
}

/** Bundles one entry into the site's assets under a hashed name; returns the name. */
async function bundle(entry, urls) {
  const metafile = await bundling({
    entryPoints: [entry],
    outdir: join(site, "assets"),
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    splitting: !entry.endsWith(".css"),
    plugins: [wasmFrom(wasm), rename(urls)],
  });
  const made = Object.entries(metafile.outputs).find(([, output]) => output.entryPoint === entry);
  return basename(made[0]);
}

/** Finds the modules that wasm-bindgen wrote where the sources import them. */
function wasmFrom(folder) {
  return {
    name: "wasm-from",
    setup({ onResolve }) {
      onResolve({ filter: /\/imprint_(wasm|writer)\.js$/ }, ({ path }) => ({
        path: join(folder, basename(path)),
      }));
    },
  };
}

/** Writes the hashed names into `new URL("./name", import.meta.url)`. */
function rename(urls) {
  return {
    name: "rename",
    setup({ onLoad }) {
      onLoad({ filter: /\.(ts|js)$/ }, async ({ path }) => {
        let contents = await readFile(path, "utf8");
        for (const [name, asset] of Object.entries(urls)) {
          contents = contents.replace(
            new RegExp(
              `new URL\\((["'])(?:\\./)?${name.replaceAll(".", "\\.")}\\1, import\\.meta\\.url\\)`,
              "g",
            ),
            `new URL("./${asset}", import.meta.url)`,
          );
        }
        return { contents, loader: path.endsWith(".ts") ? "ts" : "js" };
      });
    },
  };
}

/** Copies a file into the site's assets under a hashed name; returns the name. */
async function hashed(path) {
  const bytes = await readFile(path);
  const [stem, ending] = basename(path).split(/\.(?=[^.]+$)/);
  const name = `${stem}-${hash(bytes)}.${ending}`;
  await writeFile(join(site, "assets", name), bytes);
  return name;
}

function hash(bytes) {
  return createHash("sha256").update(bytes).digest("base64url").replaceAll(/[-_]/g, "").slice(0, 8);
}

async function fresh(folder) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}

/** Prints the size of each file, raw and as a server sends it; not of maps and types, which no visitor loads. */
async function report(title, folder) {
  console.log(`${title}: ${relative(process.cwd(), folder) || "."}`);
  const names = (await readdir(folder, { recursive: true })).filter((name) =>
    /\.(html|js|css|svg|png|webmanifest|wasm)$/.test(name),
  );
  for (const name of names.filter((name) => !name.startsWith("models")).sort()) {
    const bytes = await readFile(join(folder, name));
    console.log(
      `  ${name.padEnd(44)} ${kilobytes(bytes.length)} raw ${kilobytes(await packedBytes(bytes))} brotli`,
    );
  }
}

/** The size after brotli; the same bytes, such as the wasm of site and package, are packed once. */
function packedBytes(bytes) {
  const key = hash(bytes);
  const quality = { [constants.BROTLI_PARAM_QUALITY]: options.dev ? 1 : 11 };
  if (!packed.has(key)) packed.set(key, promisify(brotliCompress)(bytes, { params: quality }));
  return packed.get(key).then(({ length }) => length);
}

function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`.padStart(12);
}

function fail(sentence) {
  console.error(`build: ${sentence}`);
  process.exit(1);
}
