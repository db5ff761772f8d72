/// <reference lib="webworker" />

import { watchRequests, type SeenRequest } from "../src/requests.js";

/**
 * Keeps the page's own files, so that a reload works with the network cut; models are not its business.
 *
 * The page itself is asked for on the network first, so that a new version shows at once; files with a hash in
 * their name never change and come from the cache. A new version waits until the page lets it take over, for an open page
 * may still need a file of its own version.
 */
const scope = self as unknown as ServiceWorkerGlobalScope;

/** The files of this build, a hash over them, the script of the Worker, and the page's policy; the build writes them in. */
declare const SHELL_FILES: readonly string[];
declare const SHELL_VERSION: string;
declare const SHELL_WORKER: string;
declare const SHELL_POLICY: string;

const prefix = `imprint-shell ${scope.registration.scope} `;
const cacheName = prefix + SHELL_VERSION;
const home = new URL("./", scope.registration.scope).href;
const files = new Set(SHELL_FILES.map((file) => new URL(file, home).href));
const worker = new URL(SHELL_WORKER, home).href;
const own: SeenRequest[] = [];

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
scope.addEventListener("message", (event) => {
  const { type } = event.data as { type?: unknown };
  if (type === "take-over") event.waitUntil(scope.skipWaiting());
  if (type === "version") event.ports[0]?.postMessage(SHELL_VERSION);
  if (type === "requests") event.source?.postMessage({ type, requests: own });
});
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const url = request.url.split(/[?#]/)[0] ?? "";
  if (request.mode === "navigate" && (url === home || url === `${home}index.html`)) {
    event.respondWith(page(request));
  } else if (files.has(url)) {
    event.respondWith(file(request));
  }
});
watchRequests("service-worker", (seen) => {
  own.push(...seen);
  void tellPages(seen);
});

async function install(): Promise<void> {
  const cache = await caches.open(cacheName);
  // Of the page itself nothing older than this version will do.
  await cache.addAll([new Request(home, { cache: "reload" }), ...files]);
}

async function activate(): Promise<void> {
  for (const key of await caches.keys()) {
    if (key.startsWith(prefix) && key !== cacheName) await caches.delete(key);
  }
  await scope.clients.claim();
}

async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (offline) {
    const kept = await caches.match(home, { cacheName });
    if (kept) return kept;
    throw offline;
  }
}

async function file(request: Request): Promise<Response> {
  const kept = await caches.match(request, { cacheName, ignoreSearch: true });
  const answer = kept ?? (await fetch(request));
  return request.url.split(/[?#]/)[0] === worker ? underPolicy(answer) : answer;
}

/** A Worker does not take over the policy that stands in the page's markup: it needs one of its own, as a header. */
function underPolicy({ body, status, statusText, headers }: Response): Response {
  const more = new Headers(headers);
  more.set("content-security-policy", SHELL_POLICY);
  return new Response(body, { status, statusText, headers: more });
}

async function tellPages(requests: SeenRequest[]): Promise<void> {
  for (const client of await scope.clients.matchAll()) client.postMessage({ type: "requests", requests });
}

export {};
