import { shortestPassphrase, vault, type VaultStatus } from "../vault.js";
import { onLanguage, say, words } from "../words/words.js";
import { day } from "./format.js";
import { shown, working } from "./imprint-unlock.js";
import { part } from "./part.js";
import { strength } from "./strength.js";

/** What a form of the vault does; each is the `data-part` of one. */
type Task = "set" | "change" | "remove";

/**
 * A passphrase for what is kept: set, change, remove, lock.
 *
 * Its own content holds the parts; the unlocking is an `<imprint-unlock>` of its own.
 */
export class ImprintVaultElement extends HTMLElement {
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    for (const task of ["set", "change", "remove"] as const) {
      const form = part(this, task, HTMLFormElement);
      shown(form);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        void this.#do(task, form);
      });
      form.addEventListener("input", () => this.#hint(form));
    }
    part(this, "lock", HTMLButtonElement).addEventListener("click", () => void vault.lock());
    // Without HTTPS the browser offers no encryption.
    part(this, "insecure", HTMLElement).hidden = isSecureContext;
    part(this, "set", HTMLFormElement).hidden = !isSecureContext;
    this.#deaf ??= onLanguage(this.#onChange);
    vault.addEventListener("change", this.#onChange);
    this.#onChange();
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    vault.removeEventListener("change", this.#onChange);
  }

  readonly #onChange = (): void => void vault.status().then((status) => this.#show(status));

  #show({ state, sinceMs }: VaultStatus): void {
    for (const name of ["off", "locked", "unlocked"] as const)
      part(this, name, HTMLElement).hidden = name !== state;
    if (state === "locked") say(part(this, "told", HTMLElement));
    if (sinceMs !== undefined)
      part(this, "since", HTMLElement).textContent = words().vault.since(day(sinceMs));
  }

  async #do(task: Task, form: HTMLFormElement): Promise<void> {
    const [current, next, again] = ["current", "next", "again"].map((name) => field(form, name));
    if (next && again && next.value !== again.value) {
      again.setCustomValidity(words().vault.differs);
      again.reportValidity();
      return;
    }
    const done = await working(form, words().vault[workingOn[task]], async () => {
      if (task === "set") await vault.set(next?.value ?? "");
      else if (task === "change") await vault.change(current?.value ?? "", next?.value ?? "");
      else await vault.remove(current?.value ?? "");
    });
    if (!done) return current?.select();
    form.reset();
    this.#hint(form);
    for (const details of this.querySelectorAll("details")) details.open = false;
    say(part(this, "told", HTMLElement), `vault.${doneWith[task]}`);
  }

  /** Says how hard a new passphrase is to guess, while it is typed. */
  #hint(form: HTMLFormElement): void {
    field(form, "again")?.setCustomValidity("");
    const next = field(form, "next");
    if (!next) return;
    const hint = part(form, "hint", HTMLElement);
    const found = strength(next.value, shortestPassphrase);
    hint.dataset["strength"] = next.value === "" ? "" : found;
    hint.textContent =
      next.value === "" ? words().vault.advice : words().vault[found === "short" ? "tooShort" : found];
  }
}

const workingOn = { set: "sealing", change: "changing", remove: "opening" } as const;
const doneWith = { set: "isSet", change: "isChanged", remove: "isRemoved" } as const;

function field(form: HTMLFormElement, name: string): HTMLInputElement | undefined {
  const found = form.elements.namedItem(name);
  return found instanceof HTMLInputElement ? found : undefined;
}
