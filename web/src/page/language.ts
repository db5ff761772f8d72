import { languages, preferred, speak } from "../words/words.js";

/** Speaks the language that suits the person, and another one when it is chosen. */
export function chooseLanguage(choice: HTMLSelectElement): void {
  const wanted = preferred();
  speak(wanted);
  choice.value = wanted;
  choice.addEventListener("change", () => {
    const chosen = languages.find((language) => language === choice.value);
    if (chosen) speak(chosen, { keep: true });
  });
}
