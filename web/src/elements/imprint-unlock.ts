import { ImprintError } from "../errors.js";
import { vault } from "../vault.js";
import { showError } from "./trouble.js";
import { words } from "../words/words.js";
import { ImprintForgetEvent } from "./events.js";
import { forgetEverything } from "../imprint.js";
import { part } from "./part.js";
import { twice } from "./twice.js";

/**
 * Asks for the passphrase while what is kept is locked; hidden otherwise.
 *
 * Its own content holds the parts. Whoever has lost the passphrase can forget everything here, after which it sends
 * `imprint-forget`.
 */
export class ImprintUnlockElement extends HTMLElement {
  connectedCallback(): void {
    const form = part(this, "form", HTMLFormElement);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#unlock();
    });
    shown(this);
    twice(
      part(this, "forget", HTMLButtonElement),
      () => words().vault.sure,
      () => void this.#forget(),
    );
    vault.addEventListener("change", this.#onChange);
    void this.#settle();
  }

  disconnectedCallback(): void {
    vault.removeEventListener("change", this.#onChange);
  }

  readonly #onChange = (): void => void this.#settle();

  async #settle(): Promise<void> {
    const { state } = await vault.status();
    const locked = state === "locked";
    if (locked && this.hidden) part(this, "lost", HTMLDetailsElement).open = false;
    this.hidden = !locked;
  }

  async #unlock(): Promise<void> {
    const field = part(this, "passphrase", HTMLInputElement);
    await working(this, words().vault.unlocking, async () => {
      await vault.unlock(field.value);
      field.value = "";
    });
    if (!this.hidden) field.select();
  }

  async #forget(): Promise<void> {
    await working(this, words().vault.forgetting, async () => {
      await forgetEverything();
      const forgotten = new ImprintForgetEvent();
      this.dispatchEvent(forgotten);
      await forgotten.done();
    });
  }
}

/** Lets a button in `root` show what is typed into its passphrase fields. */
export function shown(root: HTMLElement): void {
  const show = part(root, "show", HTMLButtonElement);
  show.addEventListener("click", () => {
    const open = show.ariaPressed !== "true";
    show.ariaPressed = String(open);
    for (const field of root.querySelectorAll<HTMLInputElement>("[data-passphrase]"))
      field.type = open ? "text" : "password";
  });
}

/** Does something that takes a moment: says so in the part `live`, lets nothing be pressed, and tells what went wrong. */
export async function working(
  root: HTMLElement,
  sentence: string,
  work: () => Promise<void>,
): Promise<boolean> {
  const buttons = [...root.querySelectorAll("button")].filter((button) => !button.disabled);
  const live = part(root, "live", HTMLElement);
  for (const button of buttons) button.disabled = true;
  showError(root);
  live.textContent = sentence;
  try {
    await work();
    return true;
  } catch (thrown) {
    const error = ImprintError.from(thrown);
    showError(root, error, error.code === "wrong-passphrase" ? "" : undefined);
    return false;
  } finally {
    for (const button of buttons) button.disabled = false;
    live.textContent = "";
  }
}
