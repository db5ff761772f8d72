/// <reference lib="webworker" />

/**
 * Keeps the page's own files, so that a reload works with the network cut; models are not its business.
 *
 * The page itself is asked for on the network first, so that a new version shows at once; files with a hash in
 * their name never change and come from the cache.
 */
const scope = self as unknown as ServiceWorkerGlobalScope;

/** The files of this build and a hash over them; the build writes both in. */
declare const SHELL_FILES: readonly string[];
declare const SHELL_VERSION: string;

const prefix = `imprint-shell ${scope.registration.scope} `;
const cacheName = prefix + SHELL_VERSION;
const home = new URL("./", scope.registration.scope).href;
const files = new Set(SHELL_FILES.map((file) => new URL(file, home).href));

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
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

async function install(): Promise<void> {
  const cache = await caches.open(cacheName);
  await cache.addAll([home, ...files]);
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
  return kept ?? fetch(request);
}

export {};
