import { requests, type SeenRequest } from "../requests.js";
import { onLanguage, words } from "../words/words.js";
import { bytes, count } from "./format.js";
import { part } from "./part.js";

/**
 * What leaves this page: every request that the browser tells of, and the policy that it holds the page to.
 *
 * Its own content holds the parts.
 */
export class ImprintRequestsElement extends HTMLElement {
  #deaf: (() => void) | undefined;
  #due: number | undefined;

  connectedCallback(): void {
    requests.watch();
    requests.addEventListener("change", this.#onChange);
    this.#deaf ??= onLanguage(this.#onChange);
    part(this, "policy", HTMLElement).textContent = policy().join("\n");
    this.#render();
  }

  disconnectedCallback(): void {
    requests.removeEventListener("change", this.#onChange);
    this.#deaf?.();
    this.#deaf = undefined;
  }

  /** A download can be many requests: they are shown together. */
  readonly #onChange = (): void => {
    this.#due ??= requestAnimationFrame(() => {
      this.#due = undefined;
      this.#render();
    });
  };

  #render(): void {
    const seen = requests.seen;
    part(this, "verdict", HTMLElement).textContent = verdict(seen);
    const rows = seen.map((request) => this.#row(request));
    part(this, "rows", HTMLElement).replaceChildren(...rows);
  }

  #row({ url, kind, by, receivedBytes }: SeenRequest): HTMLElement {
    const { origin, pathname, search } = new URL(url);
    const home = new URL("./", document.baseURI);
    const own = origin === home.origin;
    const path = own && pathname.startsWith(home.pathname) ? pathname.slice(home.pathname.length) : pathname;
    const { requests: said } = words();
    const row = document.createElement("li");
    const name = document.createElement("strong");
    name.textContent = own ? (path || said.thePage) + search : url;
    const facts = document.createElement("span");
    const kinds: Record<string, string> = {
      navigation: said.page,
      script: said.script,
      link: said.style,
      css: said.style,
      img: said.picture,
    };
    const askers = { page: said.byPage, worker: said.byWorker, "service-worker": said.byServiceWorker };
    const received = receivedBytes > 0 ? bytes(receivedBytes) : said.kept;
    facts.textContent = [kinds[kind] ?? said.file, askers[by], received].join(" · ");
    row.append(name, " ", facts);
    return row;
  }
}

/** What the requests come to, in a sentence or three. */
function verdict(seen: readonly SeenRequest[]): string {
  const { requests: said } = words();
  if (seen.length === 0) return said.none;
  const here = new URL(document.baseURI);
  const urls = seen.map(({ url }) => new URL(url));
  const elsewhere = [...new Set(urls.filter(({ origin }) => origin !== here.origin).map(({ host }) => host))];
  const received = seen.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0);
  const queries = urls.filter(({ search }) => search !== "").length;
  return [
    elsewhere.length === 0
      ? said.allHere(count(seen.length), here.host, bytes(received))
      : said.elsewhere(count(seen.length), elsewhere.join(", "), bytes(received)),
    queries === 0 ? said.bare : said.queries(count(queries)),
  ].join(" ");
}

/** The rules that the browser holds the page to, one a line. */
function policy(): string[] {
  const metas = document.querySelectorAll<HTMLMetaElement>('meta[http-equiv="Content-Security-Policy"]');
  return [...metas].flatMap(({ content }) => content.split(";").map((rule) => rule.trim()));
}
