import { requests } from "../requests.js";

const HOUR_MS = 3_600_000;

/**
 * Keeps the page for use without a network, and offers a new version of it when there is one.
 *
 * It works without a service worker, so a failure is no error. A page that came fresh from the network takes the service
 * worker of its own version without asking; an older one asks, since its person may be writing.
 */
export async function keepShell(offer: HTMLElement): Promise<void> {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const reload = offer.querySelector("button");
  reload?.addEventListener("click", () => void update());
  // The first one takes the page over too, and is nothing new.
  let controlled = workers.controller !== null;
  workers.addEventListener("controllerchange", () => {
    void requests.listenToServiceWorker();
    if (controlled && reload?.disabled) location.reload();
    else if (controlled) void compare(workers.controller, offer);
    controlled = true;
  });
  void requests.listenToServiceWorker();

  let registration: ServiceWorkerRegistration;
  try {
    registration = await workers.register(new URL("sw.js", document.baseURI), { updateViaCache: "none" });
  } catch (thrown) {
    console.warn("the page cannot be kept for use without a network", thrown);
    return;
  }
  const consider = (): void => void compare(registration.waiting, offer);
  registration.addEventListener("updatefound", () =>
    registration.installing?.addEventListener("statechange", consider),
  );
  consider();
  setInterval(() => void registration.update().catch(() => undefined), HOUR_MS);

  async function update(): Promise<void> {
    if (reload) reload.disabled = true;
    if (registration.waiting) registration.waiting.postMessage({ type: "take-over" });
    else location.reload();
  }
}

/** Offers what is another version than this page, and lets the same one take over. */
async function compare(worker: ServiceWorker | null, offer: HTMLElement): Promise<void> {
  if (!worker) return;
  const version = await ask<string>(worker, "version");
  if (version === undefined) return;
  if (version !== ownVersion()) offer.hidden = false;
  else if (worker.state === "installed") worker.postMessage({ type: "take-over" });
}

/** Asks a service worker something that it answers at once. */
function ask<T>(worker: ServiceWorker, type: string): Promise<T | undefined> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(undefined), 5_000);
    port1.onmessage = ({ data }) => {
      clearTimeout(late);
      port1.close();
      resolve(data as T);
    };
    worker.postMessage({ type }, [port2]);
  });
}

/** The version that the build wrote into the page. */
function ownVersion(): string | undefined {
  return document.querySelector<HTMLMetaElement>('meta[name="imprint-version"]')?.content;
}
