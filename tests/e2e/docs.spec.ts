import type { Page } from "@playwright/test";
import { expect, test } from "./fixture.js";

/** The addresses that a page links to or loads, in full, without those of other sites. */
function addresses(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const links = [...document.querySelectorAll<HTMLAnchorElement>("a[href]")].map((link) => link.href);
    const loaded = [...document.querySelectorAll<HTMLImageElement>("img[src]")].map((image) => image.src);
    for (const video of document.querySelectorAll("video")) loaded.push(video.src, video.poster);
    for (const source of document.querySelectorAll("source"))
      loaded.push(new URL(source.srcset, document.baseURI).href);
    return [...links, ...loaded].filter((address) => address.startsWith(location.origin));
  });
}

test("every link of the documentation leads somewhere, and no page loads from elsewhere", async ({
  page,
  request,
}) => {
  await page.goto("./");
  await page.getByRole("link", { name: "How it works, in full" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Quick start" })).toBeVisible();
  const seen = new Set<string>();
  const waiting = [page.url()];
  for (let address = waiting.shift(); address !== undefined; address = waiting.shift()) {
    const [file = "", anchor] = address.split("#");
    if (!seen.has(file)) {
      seen.add(file);
      const inside = file.includes("/docs/") && file.endsWith(".html");
      if (!inside) expect((await request.get(file)).status(), `${file} is there`).toBe(200);
      else {
        expect((await page.goto(file))?.status(), `${file} is there`).toBe(200);
        waiting.push(...(await addresses(page)));
      }
    }
    if (anchor && page.url().split("#")[0] === file) {
      expect(await page.locator(`[id="${anchor}"]`).count(), `${address} has its heading`).toBe(1);
    }
  }
  expect(seen.size).toBeGreaterThan(20);
});

test("the recording of the page can be played", async ({ page }) => {
  await page.goto("docs/index.html");
  const video = page.locator("video");
  await video.scrollIntoViewIfNeeded();
  const played = await video.evaluate(async (element) => {
    const video = element as HTMLVideoElement;
    await video.play();
    await new Promise((resolve) => video.addEventListener("timeupdate", resolve, { once: true }));
    video.pause();
    return { seconds: video.duration, width: video.videoWidth, height: video.videoHeight };
  });
  expect(played).toEqual({ seconds: expect.any(Number), width: 880, height: 720 });
  expect(played.seconds).toBeGreaterThan(10);
});

test("the documentation is searched without a server, and tells every error's code", async ({
  page,
  context,
}) => {
  await page.goto("docs/index.html");
  const search = page.getByRole("searchbox", { name: "Search the documentation" });
  await search.fill("passphrase");
  await expect(page.locator("#found a").first()).toBeVisible();
  await page.locator("#found a").first().click();
  await expect(page.locator("main")).toContainText(/passphrase/i);
  await page.goto("docs/troubleshooting.html");
  for (const code of ["text-too-short", "device-lost", "wrong-passphrase", "adapter-wrong-base"]) {
    await expect(page.getByRole("heading", { name: code, exact: true })).toBeVisible();
  }
  await context.close();
});
