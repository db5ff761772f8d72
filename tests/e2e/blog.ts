import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const types: Record<string, string> = {
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** A page of a blog: its markup, and the policy that its server sends. */
export type BlogPage = { html: string; policy?: string };

/** Somebody's blog: pages, files, and folders of the repository's build, sent with leave for other origins. */
export class Blog {
  readonly pages = new Map<string, BlogPage>();
  readonly files = new Map<string, Uint8Array>();
  /** Folders by the path they are served under; at first the package. */
  readonly folders = new Map<string, string>([["/pkg/", join(root, "pkg/dist")]]);
  /** What was asked for, as `GET /path`. */
  readonly asked: string[] = [];
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  static async open(): Promise<Blog> {
    const blog = new Blog();
    await new Promise<void>((done) => blog.#server.listen(0, "127.0.0.1", done));
    return blog;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Puts a page with a body, and gives its address. */
  page(path: string, body: string, policy?: string): string {
    const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A blog</title>${body}</html>`;
    this.pages.set(path, policy === undefined ? { html } : { html, policy });
    return this.url + path;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.url);
    this.asked.push(`${request.method} ${pathname}`);
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-expose-headers", "content-length, content-range, accept-ranges, etag");
    const page = this.pages.get(pathname);
    if (page) {
      if (page.policy) response.setHeader("content-security-policy", page.policy);
      return void response.setHeader("content-type", "text/html; charset=utf-8").end(page.html);
    }
    const bytes = this.files.get(pathname) ?? (await this.#stored(pathname));
    if (!bytes) return void response.writeHead(404).end("not found");
    response.setHeader("content-type", types[extname(pathname)] ?? "application/octet-stream");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const from = Number(range?.[1] ?? 0);
    const to = Math.min(Number(range?.[2] || bytes.length - 1), bytes.length - 1);
    if (range) response.writeHead(206, { "content-range": `bytes ${from}-${to}/${bytes.length}` });
    else response.writeHead(200, { "content-length": bytes.length, "accept-ranges": "bytes" });
    response.end(request.method === "HEAD" ? undefined : bytes.subarray(from, to + 1));
  }

  async #stored(pathname: string): Promise<Uint8Array | undefined> {
    for (const [path, folder] of this.folders) {
      if (!pathname.startsWith(path)) continue;
      const name = decodeURIComponent(pathname.slice(path.length)) || "index.html";
      const file = resolve(folder, name.endsWith("/") ? `${name}index.html` : name);
      if (file.startsWith(folder)) return readFile(file).catch(() => undefined);
    }
    return undefined;
  }
}
