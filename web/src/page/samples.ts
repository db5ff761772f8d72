import type { ImprintTeacherElement } from "../elements/imprint-teacher.js";
import { ImprintError } from "../errors.js";
import { say, words } from "../words/words.js";

/**
 * Texts to try before one's own, in the public domain: the beginnings of "Pride and Prejudice" (Jane Austen, 1813) and
 * "Moby-Dick" (Herman Melville, 1851), as Project Gutenberg transcribed them.
 */
const samples: Record<string, { name: string; address: URL }> = {
  austen: { name: "Jane Austen", address: new URL("./samples/austen.txt", import.meta.url) },
  melville: { name: "Herman Melville", address: new URL("./samples/melville.txt", import.meta.url) },
};

/** Gives the teacher a sample when its button is pressed. */
export function offerSamples(teacher: ImprintTeacherElement): void {
  const live = document.querySelector<HTMLElement>("[data-samples-said]");
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-sample]"))
    button.addEventListener("click", async () => {
      const sample = samples[button.dataset["sample"] ?? ""];
      if (!sample) return;
      button.disabled = true;
      try {
        teacher.add([await read(sample)]);
        if (live) say(live);
        if (live) live.textContent = words().samples.taken(sample.name);
      } catch (thrown) {
        if (live) say(live, `errors.${ImprintError.from(thrown).code}`);
      }
      button.disabled = false;
    });
}

async function read({ name, address }: { name: string; address: URL }): Promise<File> {
  const answer = await fetch(address).catch(() => undefined);
  if (!answer?.ok) throw new ImprintError("model-unreachable", `the sample ${address.href} did not arrive`);
  return new File([await answer.blob()], `${name}.txt`, { type: "text/plain" });
}
