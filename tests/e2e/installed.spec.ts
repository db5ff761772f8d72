import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "@playwright/test";
import { expect, Room, test } from "./fixture.js";
import { pride } from "./learner.js";

/**
 * Serves the built site below a path, and as another version of it: what a second build changes in the page, its name and
 * its files, is changed on the way.
 */
class Mirror {
  version = 1;
  /** Has the page stay without a service worker, as it is on a first visit until that has fetched everything. */
  withoutServiceWorker = false;
  readonly #server: Server;

  constructor(readonly site: string) {
    this.#server = createServer(async (request, response) => {
      const path = new URL(request.url ?? "/", "http://host").pathname;
      const name = path.startsWith("/some/where/") ? path.slice("/some/where/".length) : undefined;
      if (name === undefined) return void response.writeHead(404).end();
      if (name === "sw.js" && this.withoutServiceWorker) return void response.writeHead(404).end();
      const head = { method: request.method ?? "GET", headers: rangeOf(request.headers.range) };
      // The second version's own script lies under another name, and the first one's is gone.
      const main = /^assets\/main-(?<second>Second-)?/.exec(name);
      if (main && Boolean(main.groups?.["second"]) !== (this.version === 2))
        return void response.writeHead(404).end();
      const answer = await fetch(new URL(name.replace("main-Second-", "main-"), this.site), head);
      for (const header of ["content-type", "content-range", "accept-ranges", "etag"])
        if (answer.headers.has(header)) response.setHeader(header, answer.headers.get(header) ?? "");
      response.setHeader("cache-control", "no-cache");
      response.writeHead(answer.status);
      if (!/^$|\.html$|^sw\.js$/.test(name))
        return void response.end(Buffer.from(await answer.arrayBuffer()));
      response.end(this.#as(await answer.text()));
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/some/where/`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  #as(text: string): string {
    this.#known ||= /name="imprint-version" content="(\w+)"/.exec(text)?.[1] ?? "";
    if (this.version === 1) return text;
    return text
      .replaceAll(this.#known, "SecondOne")
      .replaceAll("assets/main-", "assets/main-Second-")
      .replace("<title>Imprint</title>", "<title>Imprint, the second</title>");
  }

  /** The version as it was built; the page, which comes first, says it. */
  #known = "";
}

function rangeOf(range: string | undefined): Record<string, string> {
  return range === undefined ? {} : { range };
}

let mirror: Mirror;
let home: string;

test.beforeEach(async ({ baseURL, laws }) => {
  mirror = new Mirror(baseURL ?? "");
  home = await mirror.start();
  laws.allow(new URL(home).origin);
});
test.afterEach(() => mirror.stop());

/** Opens the page and waits until its service worker looks after it. */
async function settle(page: Page): Promise<void> {
  await page.goto(home);
  await page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
}

function cacheNames(page: Page): Promise<string[]> {
  return page.evaluate(() => caches.keys());
}

test("the manifest says what an installed page needs, and all it names is there", async ({
  page,
  request,
}) => {
  await page.goto(home);
  const session = await page.context().newCDPSession(page);
  const { url, errors, data } = await session.send("Page.getAppManifest");
  expect(errors).toEqual([]);
  const manifest = JSON.parse(data ?? "{}") as {
    start_url: string;
    scope: string;
    icons: { src: string; sizes: string; type: string; purpose?: string }[];
  };
  expect(new URL(manifest.start_url, url).href, "it lies where the page lies").toBe(home);
  expect(new URL(manifest.scope, url).href).toBe(home);
  expect(manifest.icons.map(({ sizes, purpose = "any" }) => `${sizes} ${purpose}`)).toEqual(
    expect.arrayContaining(["192x192 any", "512x512 any", "512x512 maskable"]),
  );
  for (const { src, sizes, type } of manifest.icons) {
    const answer = await request.get(new URL(src, url).href);
    expect(answer.headers()["content-type"], src).toContain(type);
    if (type !== "image/png") continue;
    const bytes = await answer.body();
    expect(`${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`, src).toBe(sizes);
  }
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  // A private window, as tests have, can install nothing.
  expect(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito")).toEqual(
    [],
  );
});

test("a new version is offered, comes when it is wanted, and leaves no old files behind", async ({
  page,
  context,
}) => {
  await settle(page);
  const offer = page.getByText("A new version of this page is here.");
  await expect(offer).toBeHidden();
  const [old] = await cacheNames(page);
  expect(await cacheNames(page)).toHaveLength(1);
  const room = new Room(page);
  await room.text.click();
  await page.keyboard.type("Written on the first version.");

  mirror.version = 2;
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.update());
  await expect(offer).toBeVisible();
  expect(await page.title()).not.toContain("the second");
  expect(await cacheNames(page), "the open page still has its files").toContain(old);

  await page.getByRole("button", { name: "Reload" }).click();
  await expect(page.locator('meta[name="imprint-version"]')).toHaveAttribute("content", "SecondOne");
  await expect(offer).toBeHidden();
  await expect.poll(() => cacheNames(page)).toHaveLength(1);
  expect(await cacheNames(page)).not.toContain(old);
  await expect.poll(() => room.value()).toContain("Written on the first version.");

  await test.step("a page that came with the new version is offered nothing", async () => {
    const tab = await context.newPage();
    await tab.goto(home);
    await tab.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
    await expect(tab.getByText("A new version of this page is here.")).toBeHidden();
  });
});

test("without a network the page opens with its drafts and voices, below any path", async ({
  page,
  context,
}) => {
  await settle(page);
  const room = new Room(page);
  await room.text.click();
  await page.keyboard.type("The old house at the end of the road");
  await room.saved();
  await room.small();
  await room.go("Voice");
  await page.getByLabel("Texts to learn from").fill(pride.slice(0, 4000));
  await page.getByLabel("Name of the voice").fill("Jane");
  await page.getByRole("radio", { name: /Light/ }).check();
  await page.getByRole("button", { name: "Learn", exact: true }).click();
  await expect(page.getByRole("region", { name: "What was learned" })).toBeVisible({ timeout: 60_000 });

  await mirror.stop();
  await context.setOffline(true);
  await page.reload();
  await room.go("Write");
  await expect.poll(() => room.value()).toContain("The old house");
  await room.small();
  await room.go("Library");
  await expect(page.locator("imprint-voices")).toContainText("Jane");
  await expect(page.locator("imprint-requests")).toContainText("Nothing but requests for its own files");
  mirror = new Mirror("http://127.0.0.1");
  await mirror.start();
});

test("the page lists every request that was made", async ({ page }) => {
  const made = new Set<string>();
  page.context().on("request", (request) => {
    if (!/^(data|blob):/.test(request.url())) made.add(request.url().split("#")[0] ?? "");
  });
  await settle(page);
  await new Room(page).go("Library");
  const panel = page.locator("imprint-requests");
  await panel.getByText("Every request since it was loaded").click();
  const listed = async (): Promise<string[]> =>
    (await panel.locator("li strong").allTextContents()).map((name) =>
      name === "this page" ? home : new URL(name, home).href,
    );
  // The browser asks for the icon and the manifest by itself, and tells nobody of the service worker's own script.
  const untold = /icon-|manifest-|sw\.js$/;
  await expect
    .poll(async () => {
      const told = new Set(await listed());
      return [...made].filter((url) => !told.has(url) && !untold.test(url));
    })
    .toEqual([]);
  await expect(panel).toContainText(`all to ${new URL(home).host}`);
  await panel.getByText("The rules the browser holds it to").click();
  await expect(panel.locator("pre")).toContainText("connect-src 'self'");
});

/** What the policy says when a thread asks another site for something. */
const refusal = (): Promise<string> =>
  new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    const late = (): void => void setTimeout(() => resolve("nothing"), 1_000);
    fetch("https://elsewhere.test/").then(late, late);
  });

test("on a first visit, before the service worker, the Worker may fetch from no other site either", async ({
  page,
  laws,
}) => {
  laws.provoke();
  mirror.withoutServiceWorker = true;
  await page.goto(home);
  await new Room(page).small();
  expect(await page.evaluate(() => navigator.serviceWorker.controller)).toBeNull();
  expect(page.workers()).toHaveLength(1);
  expect(await page.workers()[0]?.evaluate(refusal)).toBe("connect-src");
  expect(await page.evaluate(refusal), "as the page itself").toBe("connect-src");
});

test("the service worker hands out the Worker's script with the page's policy", async ({ page, laws }) => {
  laws.provoke();
  await settle(page);
  await new Room(page).small();
  expect(await page.workers()[0]?.evaluate(refusal)).toBe("connect-src");
  // For browsers without Trusted Types, whose Workers come from this very address.
  const policy = await page.evaluate(async () => {
    const kept = await (await caches.open((await caches.keys())[0] ?? "")).keys();
    const script = kept.find(({ url }) => url.includes("/assets/worker-"));
    return (await fetch(script?.url ?? "")).headers.get("content-security-policy");
  });
  expect(policy).toContain("connect-src 'self'");
});

test("no text becomes markup or a script, and no address but our own becomes a Worker", async ({
  page,
  laws,
}) => {
  laws.provoke();
  await page.goto(home);
  const tried = await page.evaluate(() => {
    const attempts: Record<string, () => unknown> = {
      markup: () => (document.body.innerHTML = "<p>hello</p>"),
      "a script's text": () => (document.createElement("script").textContent = "1"),
      "a Worker": () => new Worker("/other.js"),
      "a Worker from a blob": () => new Worker(URL.createObjectURL(new Blob(["1"]))),
      "a script": () => {
        const script = document.createElement("script");
        script.src = "assets/other.js";
      },
    };
    return Object.entries(attempts).map(([name, attempt]) => {
      try {
        attempt();
        return `${name}: allowed`;
      } catch (thrown) {
        return `${name}: ${(thrown as Error).name}`;
      }
    });
  });
  expect(tried).toEqual([
    "markup: TypeError",
    "a script's text: TypeError",
    "a Worker: TypeError",
    "a Worker from a blob: TypeError",
    "a script: TypeError",
  ]);
});
