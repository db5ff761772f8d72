// Builds the documentation site: static pages with relative links, so that it works from any sub-path and without a network.
//
//   node docs/build.mjs [--out dist/docs]
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Eleventy from "@11ty/eleventy";
import { build } from "esbuild";
import MiniSearch from "minisearch";
import { Application } from "typedoc";
import { searching } from "./site/searching.mjs";

const here = resolve(fileURLToPath(import.meta.url), "..");
const root = resolve(here, "..");

/** Builds into a folder; returns the npm packages whose code went in. */
export async function buildDocs(out) {
  await rm(out, { recursive: true, force: true });
  await reference();
  await writeFile(join(here, "troubleshooting.md"), await troubleshooting());
  const eleventy = new Eleventy(here, out, {
    configPath: join(here, "eleventy.config.mjs"),
    quietMode: true,
  });
  await eleventy.write();
  await index(out);
  await cp(join(here, "pictures"), join(out, "pictures"), { recursive: true });
  for (const name of await readdir(here))
    if (name.endsWith(".png")) await cp(join(here, name), join(out, name));
  const shared = {
    bundle: true,
    minify: true,
    logLevel: "warning",
    absWorkingDir: here,
    outdir: join(out, "site"),
  };
  await build({ ...shared, entryPoints: ["site/docs.css"] });
  await build({ ...shared, entryPoints: ["site/search.mjs"], format: "esm", outExtension: { ".js": ".js" } });
  return ["minisearch"];
}

/** The API reference, from the types and their comments. */
async function reference() {
  const app = await Application.bootstrapWithPlugins({
    entryPoints: [join(root, "web/src/index.ts")],
    tsconfig: join(root, "tsconfig.json"),
    plugin: ["typedoc-plugin-markdown"],
    out: join(here, "reference"),
    name: "API reference",
    readme: "none",
    disableSources: true,
    excludePrivate: true,
    excludeProtected: true,
    excludeInternal: true,
    excludeExternals: true,
    hideGenerator: true,
    hideBreadcrumbs: true,
    hidePageHeader: true,
    entryFileName: "index.md",
    useCodeBlocks: true,
    parametersFormat: "table",
    logLevel: "Error",
    githubPages: false,
  });
  const project = await app.convert();
  if (!project) throw new Error("the types could not be read");
  await app.generateOutputs(project);
}

/** Every code with its sentence, and when it occurs as the core says it: from the sources, so that it cannot drift. */
async function troubleshooting() {
  const made = await build({
    entryPoints: [join(root, "web/src/errors.ts")],
    bundle: true,
    format: "esm",
    write: false,
  });
  const { sentences } = await import(`data:text/javascript,${encodeURIComponent(made.outputFiles[0].text)}`);
  const core = await readFile(join(root, "crate/core/src/error.rs"), "utf8");
  const codes = new Map(
    [...core.matchAll(/ErrorKind::(\w+) => "([a-z-]+)"/g)].map(([, kind, code]) => [code, kind]),
  );
  const occurs = (code) => {
    const comment = new RegExp(`((?:    ///[^\\n]*\\n)+)    ${codes.get(code)},`).exec(core)?.[1] ?? "";
    return comment
      .replaceAll(/^ *\/\/\/ ?/gm, "")
      .replaceAll("\n", " ")
      .trim();
  };
  const entries = Object.entries(sentences).map(
    ([code, sentence]) => `## ${code}\n\n${sentence}\n${occurs(code) ? `\n*When:* ${occurs(code)}\n` : ""}`,
  );
  return `# Troubleshooting by error code

Everything that fails throws an \`ImprintError\` with one of these codes. Its \`advice\` is the sentence below, for the person in
front of the page; its \`message\` says what happened in detail. The codes are stable. In \`<imprint-writer>\` the sentence is shown, and the event
\`imprint-error\` carries the error.

${entries.join("\n")}`;
}

/** What the search reads: each heading of each page with the text under it. */
async function index(out) {
  const search = new MiniSearch(searching);
  let id = 0;
  for (const path of (await readdir(out, { recursive: true }))
    .filter((name) => name.endsWith(".html"))
    .sort()) {
    const html = await readFile(join(out, path), "utf8");
    const page = /<main[^>]*>([\s\S]*)<\/main>/.exec(html)?.[1] ?? "";
    const title = plain(/<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page)?.[1] ?? path);
    for (const part of page.split(/(?=<h[12][ >])/)) {
      const [, anchor = ""] = /^<h2[^>]* id="([^"]*)"/.exec(part) ?? [];
      const heading = plain(/^<h2[^>]*>([\s\S]*?)<\/h2>/.exec(part)?.[1] ?? "");
      const address = relative(out, join(out, path)) + (anchor && `#${anchor}`);
      search.add({ id: (id += 1), title, heading, text: plain(part), address });
    }
  }
  await mkdir(join(out, "site"), { recursive: true });
  await writeFile(join(out, "site/search.json"), JSON.stringify(search));
}

function plain(html) {
  const text = html.replaceAll(/<[^>]+>/g, " ").replaceAll(/\s+/g, " ");
  return text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
    .trim();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { out: { type: "string", default: join(root, "dist/docs") } } });
  const start = performance.now();
  await buildDocs(resolve(values.out));
  console.log(`docs: ${values.out} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}
