import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, resolve } from "node:path";

const pkg = resolve(import.meta.dirname, "../../pkg/dist");
const types: Record<string, string> = {
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".map": "application/json",
};

/** A host page for the package, and a model server that can be told to misbehave. */
export class Host {
  /** Breaks the next model answer off after so many bytes. */
  cutAfter = Infinity;
  /** Sends no more of the next model answer after so many bytes, and waits until the other side goes. */
  holdAfter = Infinity;
  /** For each request for the model: where it began, and how many bytes were sent. */
  readonly served: { from: number; bytes: number }[] = [];
  /** Files of a test's own, by path. */
  readonly files = new Map<string, Uint8Array>();
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  /** `model` is where the real model can be fetched, with ranges. */
  constructor(readonly model: string) {}

  async start(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.url);
    if (pathname === "/") return void response.setHeader("content-type", "text/html").end("<!doctype html>");
    if (pathname === "/model.gguf") return this.#model(request, response);
    const own = this.files.get(pathname);
    if (own) {
      const type = types[extname(pathname)] ?? "application/octet-stream";
      return void response.writeHead(200, { "content-type": type, "content-length": own.length }).end(own);
    }
    if (pathname === "/letter.gguf") return void response.end("This is a letter, not a model. ".repeat(100));
    const file = pathname.startsWith("/pkg/") ? resolve(pkg, `.${pathname.slice(4)}`) : "";
    const bytes = file.startsWith(pkg) ? await readFile(file).catch(() => undefined) : undefined;
    if (!bytes) return void response.writeHead(404).end();
    response
      .writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" })
      .end(bytes);
  }

  /** Passes the model on, range by range, and writes down what went over the wire. */
  async #model(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const headers = new Headers({ "accept-encoding": "identity" });
    for (const name of ["range", "if-range", "if-match", "if-none-match"]) {
      const value = request.headers[name];
      if (typeof value === "string") headers.set(name, value);
    }
    const answer = await fetch(this.model, { method: request.method ?? "GET", headers });
    response.statusCode = answer.status;
    for (const name of [
      "content-length",
      "content-range",
      "accept-ranges",
      "etag",
      "last-modified",
      "content-type",
    ]) {
      const value = answer.headers.get(name);
      if (value) response.setHeader(name, value);
    }
    if (request.method === "HEAD" || !answer.body) return void response.end();
    const note = {
      from: Number(/bytes (\d+)/.exec(answer.headers.get("content-range") ?? "")?.[1] ?? 0),
      bytes: 0,
    };
    this.served.push(note);
    const cut = this.cutAfter;
    const hold = this.holdAfter;
    this.cutAfter = this.holdAfter = Infinity;
    for await (const chunk of answer.body) {
      if (!response.write(chunk)) await drained(response);
      note.bytes += chunk.length;
      if (response.destroyed) return;
      if (note.bytes >= cut) return void response.destroy();
      if (note.bytes >= hold) return;
    }
    response.end();
  }
}

/** Waits until the other side has read on, or has gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}
