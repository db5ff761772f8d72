import type { Shelf } from "./shelf.js";

/** The beginning of every key under which the page keeps something of its own. */
const prefix = "imprint-";

/** Removes what the page keeps beside the package: drafts, choices, and its own files with the service worker that serves them. */
export async function forgetPage(shelf: Shelf): Promise<void> {
  await shelf.forget();
  for (const storage of [() => localStorage, () => sessionStorage]) clear(storage);
  // Both are absent where the page does not come over HTTPS.
  const { serviceWorker } = navigator as Partial<Navigator>;
  const home = new URL("./", document.baseURI).href;
  const worker = await serviceWorker?.getRegistration(home);
  // Another page of the same site may have one too.
  if (worker?.scope === home) await worker.unregister();
  for (const name of (await globalThis.caches?.keys()) ?? [])
    if (name.startsWith(`imprint-shell ${home} `)) await caches.delete(name);
}

/** Storage can be switched off, and then holds nothing. */
function clear(of: () => Storage): void {
  try {
    const storage = of();
    for (const key of Object.keys(storage)) if (key.startsWith(prefix)) storage.removeItem(key);
  } catch {
    return;
  }
}
