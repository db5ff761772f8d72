import { onLanguage, words } from "../words/words.js";

/** The places of the page; each is a `data-place` of the markup and a hash of the address. */
export const places = ["write", "voice", "library"] as const;

/** A place of the page. */
export type Place = (typeof places)[number];

/** Shows one place at a time, the one that the address names, so that links and the back button work. */
export class Places {
  #current: Place = "write";

  constructor() {
    addEventListener("hashchange", () => this.#arrive());
    onLanguage(() => this.#title());
    this.#show(named() ?? "write");
  }

  /** The place in sight. */
  get current(): Place {
    return this.#current;
  }

  /** Goes to a place as if its link had been followed. */
  go(place: Place): void {
    if (place !== this.#current) location.hash = place;
  }

  #arrive(): void {
    const place = location.hash === "" ? "write" : named();
    // An anchor of another kind is no place; a link to the place in sight changes nothing.
    if (!place || place === this.#current) return;
    this.#show(place);
    scrollTo({ top: 0, behavior: "instant" });
    // The link that was followed keeps its looks, but reading goes on where the place begins.
    section(place)?.querySelector<HTMLElement>("h2")?.focus({ preventScroll: true });
  }

  #show(place: Place): void {
    this.#current = place;
    for (const other of places) section(other)?.toggleAttribute("hidden", other !== place);
    for (const link of document.querySelectorAll("nav a[href^='#']")) {
      if (link.getAttribute("href") === `#${place}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.#title();
  }

  #title(): void {
    document.title = words().shell.title(words().shell[this.#current]);
  }
}

function named(): Place | undefined {
  return places.find((place) => location.hash === `#${place}`);
}

function section(place: Place): HTMLElement | null {
  return document.querySelector(`[data-place="${place}"]`);
}
