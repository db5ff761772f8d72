/** Asks back at the first press, in the button itself: nothing brings back what is gone. */
export function twice(button: HTMLButtonElement, question: () => string, press: () => void): void {
  let label = "";
  const calm = (): void => {
    if (button.dataset["sure"] === undefined) return;
    button.textContent = label;
    delete button.dataset["sure"];
  };
  button.addEventListener("blur", calm);
  button.addEventListener("click", () => {
    if (button.dataset["sure"] !== undefined) {
      calm();
      return press();
    }
    label = button.textContent ?? "";
    button.dataset["sure"] = "";
    button.textContent = question();
  });
}
