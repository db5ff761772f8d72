/** Finds an element of the page; throws if the markup lacks it. */
export function find<E extends HTMLElement>(selector: string, kind: new () => E): E {
  const found = document.querySelector(selector);
  if (!(found instanceof kind)) throw new TypeError(`the page lacks ${selector}`);
  return found;
}
